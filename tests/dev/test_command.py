"""`postbox dev` refuses in one line what it cannot do, and never takes its own settings for somebody else's."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.config import ROOT
from cli.dev import command
from cli.dev.command import dev
from cli.dev.database import LOGIN, is_own_url
from cli.dev.postgres_data import derive_password
from cli.dev.processes import read_procfile
from cli.dev.state import AlreadyRunning, StateError, hold, load_secrets, read_env_file, write_env_file


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    state = tmp_path / ".postbox"
    monkeypatch.setattr(command, "STATE", state)
    monkeypatch.setattr(command, "ENV_FILE", state / "dev.env")
    monkeypatch.setattr(command, "PORT_SECONDS", 0.0)
    for name in ("DATABASE_URL", "STRIPE_API_KEY", "STRIPE_API_BASE", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    kept = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield state
    for sign, handler in kept.items():
        signal.signal(sign, handler)


def test_a_port_in_use_is_one_clear_line_and_nothing_is_started(state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ran = CliRunner().invoke(dev, ["--port", str(port)])
    assert ran.exit_code == 1
    assert ran.stderr == f"Error: port {port} cannot be used (Address already in use): choose another with --port\n"
    assert not (state / "postgres").exists()


def test_a_second_one_on_the_same_directory_is_refused_by_name(state: Path) -> None:
    with hold(state):
        ran = CliRunner().invoke(dev, [])
        assert ran.stderr == f"Error: Postbox already runs on {state} (process {os.getpid()}): stop that one first\n"
        with pytest.raises(AlreadyRunning):
            hold(state)
    hold(state).close()


def test_the_environment_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "dev.env"
    write_env_file(path, {"A": "1", "URL": "postgresql://x:y@h/d?options=-c%20a=b"})
    write_env_file(path, {"A": "2", "URL": "postgresql://x:y@h/d?options=-c%20a=b"})
    assert read_env_file(path) == {"A": "2", "URL": "postgresql://x:y@h/d?options=-c%20a=b"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["dev.env"]


def test_secrets_are_made_once(tmp_path: Path) -> None:
    assert load_secrets(tmp_path) == load_secrets(tmp_path)
    assert load_secrets(tmp_path).webhook_secret.startswith("whsec_")


def test_broken_secrets_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(StateError, match="is broken"):
        load_secrets(tmp_path)


def test_a_proxy_is_never_asked_for_this_machine(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intra.example")
    state.mkdir()
    env = command._environment(command.Plan(8000, own_database=True, own_sandbox=True))
    assert env["NO_PROXY"] == env["no_proxy"] == "127.0.0.1,localhost,intra.example"


def test_our_own_database_url_sourced_from_dev_env_is_not_a_foreign_database(state: Path) -> None:
    (state / "postgres").mkdir(parents=True)
    (state / "postgres" / "secret").write_text("s3cret")
    own = f"postgresql://{LOGIN}:{derive_password('s3cret', LOGIN)}@127.0.0.1:20001/postbox"
    assert is_own_url(state, own)
    assert not is_own_url(state, f"postgresql://{LOGIN}:other@127.0.0.1:20001/postbox")
    assert not is_own_url(state, "")


def test_what_a_person_sets_is_not_started_by_us(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command._plan(8000) == command.Plan(8000, own_database=True, own_sandbox=True)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@db.example/postbox")
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_mine")
    assert command._plan(8000) == command.Plan(8000, own_database=False, own_sandbox=False)


def test_the_first_signal_waits_for_what_is_being_started_and_then_ends_the_run() -> None:
    stopping = command._Stopping()
    done: list[str] = []

    def start() -> None:
        with stopping.postponed():
            stopping(signal.SIGTERM, None)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]
    stopping(signal.SIGTERM, None)


def test_the_procfile_names_the_three_processes_we_run() -> None:
    procfile = read_procfile(ROOT / "Procfile")
    assert procfile["release"] == ["postbox", "migrate"]
    assert procfile["worker"] == ["postbox", "worker"]
    assert procfile["web"][:2] == ["gunicorn", "app.gateway:create_app()"]
