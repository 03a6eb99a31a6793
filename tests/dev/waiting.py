"""Waiting for something to become true, and looking at processes; the only clocks in these tests."""

import time
from collections.abc import Callable
from pathlib import Path

# What has not happened after this long never will, however busy the machine.
PATIENCE_SECONDS = 60.0


def eventually(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Ask until the condition holds; fail when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
