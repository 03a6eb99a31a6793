"""The supervisor restarts what dies, stops everything, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.dev.supervisor import Patience, Service, ServiceError, Supervisor
from tests.dev.waiting import eventually, is_alive

ROOT = Path(__file__).resolve().parents[2]
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
IMPATIENT = Patience(first_backoff=0.05, longest_backoff=0.2, stable_after=30, grace=0.3)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, patience=IMPATIENT) as supervisor:
        yield supervisor


def test_a_killed_service_is_started_again(supervisor: Supervisor) -> None:
    supervisor.start(Service("sleeper", SLEEPER))
    first = supervisor.pids()["sleeper"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.pids().get("sleeper", first) != first)
    assert supervisor.restarts() == {"sleeper": 1}


def test_a_service_that_keeps_dying_waits_longer_each_time_up_to_the_cap(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    # Alive until the file appears, so that it counts as started.
    code = "import pathlib, time\nwhile not pathlib.Path('die').exists(): time.sleep(.01)"
    supervisor.start(Service("mortal", [sys.executable, "-c", code], cwd=tmp_path))
    (tmp_path / "die").touch()
    log = tmp_path / "mortal.log"
    eventually(lambda: log.read_text().count("starts again in 0.2 s") >= 2)
    waits = [line.rpartition(" in ")[2] for line in log.read_text().splitlines() if "starts again" in line]
    assert waits[:4] == ["0.05 s", "0.1 s", "0.2 s", "0.2 s"]


def test_a_service_that_was_stable_starts_again_at_the_first_backoff(tmp_path: Path) -> None:
    patience = Patience(first_backoff=0.01, longest_backoff=1, stable_after=0)
    with Supervisor(tmp_path, patience=patience) as supervisor:
        supervisor.start(Service("sleeper", SLEEPER))
        for deaths in (1, 2, 3):
            eventually(lambda: "sleeper" in supervisor.pids())
            os.kill(supervisor.pids()["sleeper"], signal.SIGKILL)
            eventually(lambda deaths=deaths: supervisor.restarts()["sleeper"] == deaths)
        eventually(lambda: (tmp_path / "sleeper.log").read_text().count("starts again in 0.01 s") == 3)


def test_stopping_ends_every_service_last_started_first(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys\n"
        "def end(*_):\n open('order', 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while True: signal.pause()"
    )
    # each ends by itself, so none is killed before it has got to that
    with Supervisor(tmp_path / "log", patience=replace(IMPATIENT, grace=60)) as supervisor:
        for name in "abc":
            argv = [sys.executable, "-c", code, name]
            supervisor.start(Service(name, argv, cwd=tmp_path, ready=(tmp_path / name).exists))
        pids = supervisor.pids().values()
    assert (tmp_path / "order").read_text() == "cba"
    assert not any(map(is_alive, pids))


def test_a_service_that_ignores_the_request_is_killed_with_its_group_after_the_grace(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = f"import subprocess, sys; print(subprocess.Popen({STUBBORN!r}).pid, flush=True); " + STUBBORN[2]
    log = tmp_path / "stubborn.log"
    up = lambda: log.exists() and log.read_text().count("up") == 2  # noqa: E731
    supervisor.start(Service("stubborn", [sys.executable, "-c", code], ready=up))
    child = int(next(line for line in log.read_text().splitlines() if line.isdigit()))
    supervisor.stop()
    eventually(lambda: not is_alive(child))
    assert "killed" in log.read_text()


def test_nothing_is_restarted_once_the_stop_began(supervisor: Supervisor) -> None:
    supervisor.start(Service("sleeper", SLEEPER))
    pid = supervisor.pids()["sleeper"]
    supervisor.stop()
    assert not is_alive(pid)
    assert supervisor.pids() == {}


def test_a_stop_during_the_backoff_does_not_wait_for_it(tmp_path: Path) -> None:
    backoff = 600
    with Supervisor(tmp_path, patience=Patience(first_backoff=backoff)) as supervisor:
        supervisor.start(Service("sleeper", SLEEPER))
        os.kill(supervisor.pids()["sleeper"], signal.SIGKILL)
        eventually(lambda: "starts again" in (tmp_path / "sleeper.log").read_text())
        began = time.monotonic()
    assert time.monotonic() - began < backoff / 2


def test_a_service_that_ends_before_it_is_ready_is_reported_with_its_last_line(supervisor: Supervisor) -> None:
    broken = Service("broken", [sys.executable, "-c", "raise SystemExit('no such table')"], ready=lambda: False)
    with pytest.raises(ServiceError, match="broken ended before it was ready: no such table"):
        supervisor.start(broken)


def test_a_program_that_does_not_exist_is_reported_by_name(supervisor: Supervisor) -> None:
    with pytest.raises(ServiceError, match="cannot run no-such-program"):
        supervisor.start(Service("absent", ["no-such-program"], ready=lambda: False))


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_no_service_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal\n"
        "from cli.dev.supervisor import Service, Supervisor\n"
        f"s = Supervisor(pathlib.Path({str(tmp_path)!r}))\n"
        f"s.start(Service('stubborn', {STUBBORN!r}))\n"
        "print(s.pids()['stubborn'], flush=True)\n"
        "signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        pid = int(killed.stdout.readline())
        assert is_alive(pid)
        killed.kill()
    eventually(lambda: not is_alive(pid))


def test_a_log_turns_over_instead_of_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.dev.service_log.LOG_BYTES", 1000)
    code = "import time\nfor n in range(500): print('line', n)\nprint('end', flush=True); time.sleep(600)"
    with Supervisor(tmp_path, patience=IMPATIENT) as supervisor:
        talker = tmp_path / "talker.log"
        ready = lambda: talker.exists() and "end" in talker.read_text()  # noqa: E731
        supervisor.start(Service("talker", [sys.executable, "-c", code], ready=ready))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 3000
