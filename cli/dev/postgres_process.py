"""The server as an operating system process: found through postmaster.pid, run under the right account."""

import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.dev.postgres_home import Home


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Let one process at a time create or start the cluster."""
    with (home.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_pid_file(data_dir: Path) -> tuple[int, str, int] | None:
    """Return process id, status and port from postmaster.pid; status and port are empty while it starts."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else "", int(lines[3]) if len(lines) > 3 else 0
    except (FileNotFoundError, ValueError, IndexError):
        return None


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that ended but was not yet waited for does not."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return not Path("/proc/self/stat").exists()


def is_server(pid: int, data_dir: Path) -> bool:
    """Say whether the process is this directory's server, and not another that got its number after a reboot."""
    return is_alive(pid) and _works_in(pid, data_dir) is not False


def _works_in(pid: int, data_dir: Path) -> bool | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data_dir)
    except OSError:
        return None


def forget_foreign_pid(data_dir: Path) -> None:
    """Remove a postmaster.pid whose number now belongs to an unrelated process, or PostgreSQL would refuse."""
    found = read_pid_file(data_dir)
    if found and is_alive(found[0]) and _works_in(found[0], data_dir) is False:
        (data_dir / "postmaster.pid").unlink(missing_ok=True)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until the condition holds or the time is over; return whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def run_as(home: Home, argv: list[str], stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    account = home.account
    return subprocess.run(
        argv,
        cwd=home.path,
        env={**env, "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
    )


def is_free(port: int) -> bool:
    """Say whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Say whether a PostgreSQL answers on the port, by asking for encryption as the protocol allows anyone to."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.sendall((8).to_bytes(4) + (80877103).to_bytes(4))
            return probe.recv(1) in (b"N", b"S")
    except OSError:
        return False
