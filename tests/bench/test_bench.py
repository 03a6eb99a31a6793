"""The harness measures, says what on, and leaves nothing behind; what the numbers are is no test's business."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from tests.bench.arena import HOME
from tests.bench.command import BENCHES
from tests.bench.deliver import rate_of
from tests.bench.flame import icicle
from tests.bench.http import drive
from tests.bench.limits import by_pages, by_waits
from tests.bench.measure import Series, held, percentiles, ratio
from tests.bench.peers import environments
from tests.bench.profiling import read
from tests.fixtures.database import Connection

# Two runs at once, each on a PostgreSQL of its own: both mostly wait for processes to come up. More than a group holds,
# so that deliveries are of several; and as few as will do, where each takes its time.
RUNS = {("accept", "deliver", "trace"): 120, ("e2e", "reconcile"): 10}
PAYMENTS = {name: payments for names, payments in RUNS.items() for name in names}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tiny runs of everything write, put together; `told` is of the first."""
    runs = [(tmp_path_factory.mktemp("bench") / "results.json", names) for names in RUNS]
    with ExitStack() as running:
        ran = [running.enter_context(_started(to, names)) for to, names in runs]
        told = [one.communicate(timeout=300)[0].decode() for one in ran]
    assert [one.returncode for one in ran] == [0] * len(runs), "\n".join(told)
    first, *others = [json.loads(to.read_text()) for to, _ in runs]
    results = {name: result for one in (first, *others) for name, result in one["results"].items()}
    return first | {"results": results, "told": told[0], "pids": [one.pid for one in ran]}


def _started(to: Path, names: tuple[str, ...]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.bench", *names, f"--payments={RUNS[names]}", "--repeats=1", "--time-scale=0.1"]
    return subprocess.Popen([*argv, f"--json={to}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_run_says_what_it_was_measured_on(found: dict[str, Any]) -> None:
    machine = found["machine"]
    assert all(machine["settings"][name] == "on" for name in ("fsync", "synchronous_commit", "full_page_writes"))
    assert machine["cores"] and machine["memory_gb"] and machine["postgresql"].startswith("18") and machine["commit"]
    assert "fsync on" in found["told"] and machine["commit"] in found["told"]
    assert found["command"].startswith("bin/bench accept deliver trace --payments")


@pytest.mark.parametrize(
    ("bench", "variants", "ratios"),
    [
        ("accept", 3, {"accept_vs_pgbench", "accept_vs_stock_notify", "web_mb"}),
        ("deliver", 7, {"worker_mb", "start_p95_ms", "single_start_p95_ms", "deliver_vs_stock_worker",
                        "deliver_vs_pgbench", "stock_vs_pgbench", "deliver_vs_stock_by_cpu",
                        "deliver_vs_pgbench_by_cpu"}),
        ("e2e", 13, {"e2e_vs_stock", "e2e_vs_pgbench", "e2e_vs_synchronous", "e2e_vs_synchronous_slow", "worker_mb"}),
        ("trace", 1, {"trace_among_these_p95_ms"}),
        ("reconcile", 3, {"reconcile_at_ten_times", "reconcile_at_a_hundred_times", "night_memory_at_a_hundred_times"}),
    ],
)  # fmt: skip
def test_every_variant_has_its_numbers_and_the_check_is_clean(
    found: dict[str, Any], bench: str, variants: int, ratios: set[str]
) -> None:
    result = found["results"][bench]
    assert result["payments"] == PAYMENTS[bench]
    assert len(result["variants"]) == variants
    assert all(row["median"] > 0 and len(row["repeats"]) == 1 for row in result["variants"])
    assert set(result["ratios"]) == ratios
    assert all(value > 0 for value in result["ratios"].values())
    assert all(row["server_cpu_ms"] > 0 and row["server_waiting_ms"] >= 0 for row in result["variants"])
    by_processes = [row for row in result["variants"] if bench != "trace" and "pgbench" not in row["name"]]
    assert all(row["peak_mb"] > 10 and row["worker_cpu_ms"] > 0 for row in by_processes)
    assert result["violations"] == 0 and result["checked"].startswith("clean, ")


def test_the_latencies_are_told_where_somebody_waits(found: dict[str, Any]) -> None:
    results = found["results"]
    paced = [row for row in results["e2e"]["variants"] if "burst" not in row["name"]]
    offered = [row for row in results["deliver"]["variants"] if "offered" in row["unit"]]
    rows = [*results["accept"]["variants"], *offered, *paced]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in rows)


@pytest.mark.parametrize("bench", ["accept", "deliver", "e2e"])
def test_payments_and_deliveries_per_second_are_told_beside_those_of_pgbench_and_of_stock(
    found: dict[str, Any], bench: str
) -> None:
    rows = [row for row in found["results"][bench]["variants"] if "paced" not in row["name"]]
    assert all(row["payments_per_second"] > 0 and row["deliveries_per_second"] > 0 for row in rows)
    assert any("pgbench" in row["name"] for row in rows) and any("stock" in row["name"] for row in rows)


def test_nothing_is_left_running(found: dict[str, Any]) -> None:
    homes = [HOME / f"bench-{pid}" for pid in found["pids"]]
    assert not any(home.exists() for home in homes)
    lines = [_command_line(path) for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert [line for line in lines if any(str(home) in line for home in homes)] == []


@pytest.mark.parametrize("told", [ROOT / "README.md", ROOT / "bin" / "bench"], ids=lambda told: told.name)
def test_every_benchmark_is_named_where_they_are_listed(told: Path) -> None:
    found = re.search(r"bin/bench (\w+(?:\|\w+)+)", told.read_text())
    assert found is not None and set(found[1].split("|")) == set(BENCHES)


def test_time_is_counted_for_the_library_that_spends_it() -> None:
    site = "/v/lib/python3/site-packages"
    seen = read(
        f'process 1:"gunicorn";serve ({site}/gunicorn/w.py:1);call ({site}/flask/app.py:2);dumps (/v/json.py) 3\n'
        f"serve ({site}/gunicorn/w.py:1);load ({site}/webargs/core.py:5) 1\n"
    )
    assert seen["shares"] == {"Flask": 0.75, "marshmallow": 0.25}
    assert icicle(seen["stacks"]).count("<rect") == 4, "two callers are one where they are the same"


def test_a_rate_is_of_whole_groups_after_the_first_that_ends_the_warm_up(conn: Connection) -> None:
    """200 that are marked at the tenth second, 300 at the twelfth, 500 at the fourteenth: each in its transaction."""
    conn.execute("create temp table deliveries (handler text, status text, done_at timestamptz, event_id uuid)")
    for count, second in ((200, 10), (300, 12), (500, 14)):
        with conn.transaction():
            conn.execute(
                "insert into pg_temp.deliveries select 'one', 'done', to_timestamp(%s - 1.0 / n), uuidv7()"
                " from generate_series(1000, 999 + %s) n",
                [second, count],
            )
    conn.execute("set local search_path = pg_temp, postbox")
    assert rate_of(conn, "one") == pytest.approx(800 / 4, rel=0.01)


def test_who_is_sent_late_has_waited_since_its_time_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_answer, args=(listening,))
        server.start()
        answers = drive(listening.getsockname()[1], lambda n: b"GET", count=5, clients=1, rate=1e6)
        server.join()
    took = list(accumulate(answer.seconds for answer in answers))
    assert all(answer.waited >= sum_of_all - 1e-5 for answer, sum_of_all in zip(answers, took, strict=True))
    assert answers[-1].due_at - answers[0].due_at < took[-2], "all were due at once, and sent one after the other"


def _answer(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        while connection.recv(100):
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


def test_a_rate_that_was_not_held_is_none() -> None:
    assert held(10, [0.0, 0.1, 0.2]) == pytest.approx(10)
    with pytest.raises(AssertionError, match=r"the last of 2 was 1\.9 s behind"):
        held(10, [0.0, 2.0])


def test_what_pages_would_take_that_were_as_near_is_told_of_a_large_database() -> None:
    small = Series("among ten", "per second", rates=[200.0], samples={"buffers_read": [20.0]})
    large = Series("among a hundred", "per second", rates=[125.0], samples={"buffers_read": [25.0], "read_ms": [4.0]})
    near, far, farther = (Series("a page", "per second", rates=[rate]) for rate in (10_000.0, 5_000.0, 100.0))
    # 8 ms, of which 25 pages took 0.1 ms more than near ones, against 5 ms
    told = by_pages({10: small, 100: large}, {10: near, 100: far})
    assert "takes 5.0 ms among 10 and 8.0 ms among 100, which is 0.62, and with" in told and "would be 0.91" in told
    told = by_pages({10: small, 100: large}, {10: near, 100: farther})
    assert "would be 1.25" in told, "4 ms were waited for pages"


def test_beside_what_is_waited_at_a_pace_it_is_told_for_how_long_threads_had_no_core() -> None:
    idle = Series("idle", "x/s", latencies=[0.004, 0.009], samples={"waiting_ms": [1.0], "server_waiting_ms": [0.5]})
    busy = Series("busy", "x/s", latencies=[0.02], samples={"waiting_ms": [1.0], "server_waiting_ms": [0.25]})
    told = by_waits({200: busy, 2: idle})
    assert "at 200/s half wait 20 ms and 95 of 100 20 ms, and all threads together 250 ms of a second; at 2/s" in told
    assert "at 2/s half wait 4 ms and 95 of 100 9 ms, and all threads together 3 ms of a second." in told


@pytest.mark.parametrize(
    ("make", "wanted", "made"),
    [
        (environments.make_environment, "requirements.txt", ".venv"),
        (environments.make_packages, "package.json", "node_modules"),
    ],
    ids=["pip", "npm"],
)
def test_of_another_version_the_environment_is_made_anew(
    make: Callable[[Path], None], wanted: str, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(*argv: str, **_: object) -> str:
        (tmp_path / made).mkdir(exist_ok=True)
        ran.append(argv[0])
        return ""

    monkeypatch.setattr(environments, "_run", run)
    for version, is_made in (("1.0", True), ("1.0", False), ("1.1", True)):
        (tmp_path / wanted).write_text(version)
        ran.clear()
        make(tmp_path)
        assert bool(ran) == is_made


def test_percentiles_are_measured_values() -> None:
    assert percentiles([0.003, 0.001, 0.002]) == {"p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 3.0}


def test_a_ratio_is_taken_within_a_repeat() -> None:
    of, to = Series("a", "x/s", rates=[100, 10, 90]), Series("b", "x/s", rates=[50, 5, 30])
    assert ratio(of, to) == 2.0, "the machine was slow in the second repeat, for both"


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""
