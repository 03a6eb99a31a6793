"""All of Postbox starts with one command, every demo payment arrives, and one signal leaves no process."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.model import second_factor
from cli.dev.postgres import ensure_cluster
from cli.dev.processes import POSTBOX
from cli.dev.state import read_env_file
from tests.dev.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
GIVEN = ("DATABASE_URL", "POSTBOX_MIGRATION_URL", "STRIPE_API_KEY", "STRIPE_API_BASE", "POSTBOX_KEY_PEPPER",
         "POSTBOX_OPERATOR_KEY")  # fmt: skip
# What dev.env holds for scripts, under the names they know it by.
FOR_SCRIPTS = {"POSTBOX_URL", "POSTBOX_API_KEY", "POSTBOX_WEBHOOK_SECRET", "DATABASE_URL", "STRIPE_API_BASE"}

pytestmark = pytest.mark.skipif(not Path(POSTBOX).exists(), reason="postbox is not installed here: bin/test does that")


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory of our own, so that a bin/run of this checkout is not disturbed."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        state = Path(directory) / ".postbox"
        yield state
        if (state / "postgres" / "data").exists():
            ensure_cluster(state).remove()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sign_in(remembered: dict[str, str]) -> None:
    """As a person does with what bin/run left for them."""
    body = {
        "name": remembered["POSTBOX_DEMO_OPERATOR"],
        "password": remembered["POSTBOX_DEMO_PASSWORD"],
        "code": second_factor.code(remembered["POSTBOX_DEMO_TOTP"], time.time()),
    }
    url = remembered["POSTBOX_URL"]
    answer = requests.post(f"{url}/ops/v1/session", json=body, headers={"Origin": url}, timeout=10)
    assert answer.json()["role"] == "admin", answer.text


def processes_of(state: Path) -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
            if f"POSTBOX_TEST_STATE={state}".encode() in environment and (directory / "cmdline").read_bytes():
                found.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for left processes in /proc")
def test_one_command_brings_every_demo_payment_to_its_end_and_one_signal_leaves_nothing(state: Path) -> None:
    code = (
        "import pathlib, sys\nfrom cli.dev import command\n"
        "command.STATE = pathlib.Path(sys.argv.pop(1))\ncommand.ENV_FILE = command.STATE / 'dev.env'\ncommand.dev()"
    )
    env = {name: value for name, value in os.environ.items() if name not in GIVEN}
    env |= {"POSTBOX_TIME_SCALE": "0.1", "PYTHONPATH": str(ROOT), "POSTBOX_TEST_STATE": str(state)}
    argv = [sys.executable, "-c", code, str(state), "--port", str(free_port())]
    state.parent.joinpath("out").touch()
    with state.parent.joinpath("out").open("w") as out:
        running = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        told = state.parent.joinpath("out")
        eventually(lambda: "until Ctrl-C" in told.read_text() or running.poll() is not None, 120)
        assert "all 20 demo payments ended where they must" in told.read_text(), told.read_text()
        remembered = read_env_file(state / "dev.env")
        assert remembered["POSTBOX_API_KEY"].startswith("pb_test_")
        assert remembered.keys() >= FOR_SCRIPTS
        sign_in(remembered)
        assert len(processes_of(state)) > 4
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)
    assert running.returncode == 0
    eventually(lambda: not processes_of(state))
