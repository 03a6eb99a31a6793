"""Starts named processes, restarts what dies, stops them all in reverse order; it knows nothing of what they do.

Ours, because honcho never restarts a child and stops everything when one ends, while Postbox's worker is
meant to exit when it loses its database and to be started again.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli.dev import tether
from cli.dev.service_log import COLOURS, ServiceLog


class ServiceError(Exception):
    """A process did not start."""


@dataclass(frozen=True)
class Patience:
    """Seconds. Tests use smaller ones."""

    first_backoff: float = 0.5
    # Long enough not to burn a core on a broken program, short enough that a repaired database is soon used.
    longest_backoff: float = 15.0
    # A process that lived this long was healthy, so its next death starts again at the first backoff.
    stable_after: float = 30.0
    # What web and worker promise to need for draining.
    grace: float = 25.0


@dataclass(frozen=True)
class Service:
    """One process to keep running. `ready` says whether it serves; None: as soon as it runs."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_within: float = 60.0


class Supervisor:
    """Keeps services running until stop(); use as a context manager so that nothing is left behind."""

    def __init__(self, log_dir: Path, console: Console | None = None, patience: Patience | None = None) -> None:
        self._log_dir = log_dir
        self._console = console or Console(stderr=True)
        self._patience = patience or Patience()
        self._keepers: list[_Keeper] = []
        self._stopping = threading.Event()
        self._hurry = threading.Event()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, service: Service) -> None:
        """Start one service and return when it is ready; raise ServiceError when it ends before that."""
        colour = COLOURS[len(self._keepers) % len(COLOURS)]
        log = ServiceLog(service.name, self._log_dir, self._console, colour)
        keeper = _Keeper(service, log, self._patience, self._stopping)
        self._keepers.append(keeper)
        keeper.start()
        deadline = time.monotonic() + service.ready_within
        while not keeper.is_ready():
            if keeper.deaths or not keeper.is_alive():
                raise ServiceError(f"{service.name} ended before it was ready: {log.last_line} (see {log.path})")
            if time.monotonic() > deadline:
                raise ServiceError(f"{service.name} is not ready after {service.ready_within:g} s: see {log.path}")
            time.sleep(0.05)
        keeper.settled.set()

    def echo(self, on: bool) -> None:
        """Show the lines of every service on the terminal from now on, or only write them to the logs."""
        for keeper in self._keepers:
            keeper.log.echo = on

    def pids(self) -> dict[str, int]:
        """Return the process id of each service that runs at this moment."""
        return {k.service.name: k.process.pid for k in self._keepers if k.process and k.process.returncode is None}

    def restarts(self) -> dict[str, int]:
        return {k.service.name: k.deaths for k in self._keepers}

    def hurry(self) -> None:
        """Give up the grace period of a stop that is under way. Safe in a signal handler."""
        self._hurry.set()

    def stop(self) -> None:
        """Stop all services, last started first: ask, wait, kill. None is restarted once this began."""
        self._stopping.set()
        for keeper in reversed(self._keepers):
            keeper.stop(self._hurry)
        for keeper in self._keepers:
            keeper.log.close()


class _Keeper(threading.Thread):
    """The thread that owns one process. It outlives it: a tethered child is killed when its parent thread ends."""

    def __init__(self, service: Service, log: ServiceLog, patience: Patience, stopping: threading.Event) -> None:
        super().__init__(name=f"keeper-{service.name}", daemon=True)
        self.service = service
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.settled = threading.Event()
        self._patience = patience
        self._stopping = stopping
        self._spawning = threading.Lock()

    def is_ready(self) -> bool:
        return self.process is not None and not self.deaths and (self.service.ready is None or self.service.ready())

    def run(self) -> None:
        backoff = self._patience.first_backoff
        while True:
            started = time.monotonic()
            with self._spawning:
                if self._stopping.is_set():
                    return
                process = self.process = self._spawn()
            pump = threading.Thread(target=self._pump, args=(process,), daemon=True)
            pump.start()
            status = _reap_with_group(process)
            pump.join(timeout=1)
            if self._stopping.is_set():
                return
            lived = time.monotonic() - started
            self.deaths += 1
            if lived > self._patience.stable_after:
                backoff = self._patience.first_backoff
            # A service that never became ready is the caller's to judge: start() raises.
            while not self.settled.wait(0.1):
                if self._stopping.is_set():
                    return
            self._say(f"ended with status {status} after {lived:.0f} s, starts again in {backoff:g} s")
            if self._stopping.wait(backoff):
                return
            backoff = min(backoff * 2, self._patience.longest_backoff)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-IS", tether.__file__, str(os.getpid()), *self.service.argv],
            cwd=self.service.cwd,
            env=dict(self.service.env) or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None, "started with a pipe"
        with process.stdout as lines:
            for line in lines:
                self.log.write(line)

    def _say(self, text: str) -> None:
        self.log.write(f"[supervisor] {self.service.name} {text}".encode())

    def stop(self, hurry: threading.Event) -> None:
        with self._spawning:
            process = self.process
        if process is not None:
            _send(process, signal.SIGTERM)
            deadline = time.monotonic() + self._patience.grace
            while self.is_alive() and time.monotonic() < deadline and not hurry.is_set():
                self.join(0.05)
            if self.is_alive():
                self._say("did not stop in time and is killed")
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        self.join(5)


def _send(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    # Popen checks under its own lock that the process was not reaped, so the number is still its own.
    with suppress(ProcessLookupError):
        process.send_signal(sign)


def _reap_with_group(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process, kill what it left in its group, and return its exit status.

    The group is killed before the process is reaped: until then its number cannot belong to anyone else.
    """
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
