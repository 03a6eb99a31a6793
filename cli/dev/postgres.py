"""An embedded PostgreSQL 18 that is created, started, adopted and stopped; it knows nothing of Postbox's schema."""

import os
import random
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from cli.dev.postgres_data import check_data, create_data, derive_password
from cli.dev.postgres_failure import ClusterError, explain, explain_os_error
from cli.dev.postgres_home import (
    FREE_BYTES_TO_START,
    PORTS,
    Home,
    find_binaries,
    find_home,
)
from cli.dev.postgres_process import (
    answers,
    forget_foreign_pid,
    is_alive,
    is_free,
    is_server,
    locked,
    read_pid_file,
    run_as,
    wait,
)
from cli.dev.state import write_private

__all__ = ["Cluster", "ClusterError", "ensure_cluster"]

# Crash recovery replays at most max_wal_size (1 GB) of log, which a slow disk reads in minutes.
START_SECONDS = 300
STOP_SECONDS = 60

# A server that was killed leaves backends that need a moment to notice.
LEFTOVER_SECONDS = 15

# A server that was killed a moment ago still holds its port; a program that took the port keeps it.
PORT_SECONDS = 3

LOG_BYTES = 5 * 1024 * 1024

DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "max_connections": "200",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "unix_socket_permissions": "0700",
        # Statements may carry personal data, so failed ones are logged without their text.
        "log_min_error_statement": "panic",
    }
)


@dataclass(frozen=True)
class Cluster:
    """One data directory and the server that runs on it."""

    data_dir: Path
    bin_dir: Path
    port: int
    socket_dir: Path
    home: Home
    settings: Mapping[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)

    @property
    def log_file(self) -> Path:
        return self.home.log_file

    def password(self, user: str) -> str:
        """Return the password of this role, derived from the cluster's secret."""
        return derive_password(self.secret, user)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a connection URL, by default the superuser's, over 127.0.0.1."""
        return f"postgresql://{quote(user)}:{self.password(user)}@127.0.0.1:{self.port}/{quote(database)}"

    def pid(self) -> int | None:
        """Return the process id of the running server, None when there is none."""
        found = read_pid_file(self.data_dir)
        return found[0] if found and is_server(found[0], self.data_dir) else None

    def is_running(self) -> bool:
        return self.pid() is not None

    def start(self) -> None:
        """Start the server and wait until it accepts connections, crash recovery included."""
        with locked(self.home):
            _start(self)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" with a checkpoint, "immediate" as if it had crashed."""
        sign = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        pid = self.pid()
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        if not wait(lambda: not is_server(pid, self.data_dir), STOP_SECONDS):
            raise ClusterError(f"PostgreSQL (process {pid}) did not stop within {STOP_SECONDS} s")

    def remove(self) -> None:
        """Stop the server and delete everything it had. For tests."""
        self.stop("immediate")
        shutil.rmtree(self.home.path, ignore_errors=True)
        shutil.rmtree(self.socket_dir, ignore_errors=True)


def ensure_cluster(root: Path, *, settings: Mapping[str, str] = MappingProxyType({})) -> Cluster:
    """Create the cluster under root if it is missing, start or adopt its server, return it.

    Settings are applied when the server starts; one that is already running keeps those it has.
    """
    home = find_home(root.absolute())
    with locked(home):
        try:
            bin_dir = find_binaries(home)
            secret = _remembered(home.secret_file, lambda: secrets.token_hex(32))
            if not home.data_dir.exists():
                create_data(home, bin_dir, secret, durable=settings.get("fsync", "on") == "on")
            check_data(home.data_dir)
            cluster = Cluster(
                data_dir=home.data_dir,
                bin_dir=bin_dir,
                port=_choose_port(home, settings),
                socket_dir=home.socket_dir(),
                home=home,
                settings=dict(settings),
                secret=secret,
            )
            _start(cluster)
        except OSError as e:
            raise ClusterError(explain_os_error(e, home.path)) from e
    return cluster


def remove_cluster(root: Path) -> None:
    """Stop the server under root, if one runs, and delete everything it had. Nothing is started for it."""
    home = find_home(root.absolute())
    Cluster(home.data_dir, Path(), 0, home.socket_dir(), home).remove()


def _start(cluster: Cluster) -> None:
    if _adopt(cluster):
        return
    check_data(cluster.data_dir)
    cluster.home.require_free_space(FREE_BYTES_TO_START)
    forget_foreign_pid(cluster.data_dir)
    if not wait(lambda: is_free(cluster.port), PORT_SECONDS):
        raise ClusterError(f"port {cluster.port} is taken by another program, so PostgreSQL cannot use it")
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        log_start = _open_log(cluster.log_file)
        try:
            _await_ready(cluster, _launch(cluster), log_start)
            return
        except ClusterError as e:
            if "still in use" not in str(e) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _adopt(cluster: Cluster) -> bool:
    """Wait for a server that runs already; return False when there is none, or it turns out to be dying."""
    deadline = time.monotonic() + START_SECONDS
    while pid := cluster.pid():
        _, status, port = read_pid_file(cluster.data_dir) or (pid, "", 0)
        if status == "ready" and port != cluster.port:
            raise ClusterError(f"PostgreSQL runs already, but on port {port} and not {cluster.port}")
        if status == "ready" and answers(port):
            return True
        if time.monotonic() > deadline:
            raise ClusterError(f"PostgreSQL (process {pid}) runs but does not answer: see {cluster.log_file}")
        time.sleep(0.02)
    return False


def _launch(cluster: Cluster) -> int:
    """Start the server as an orphan of its own session, so that no Ctrl-C meant for us reaches it."""
    settings = {
        **DEFAULT_SETTINGS,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(cluster.socket_dir),
        **cluster.settings,
        "port": str(cluster.port),
    }
    argv = [str(cluster.bin_dir / "postgres"), "-D", str(cluster.data_dir)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    with cluster.log_file.open("ab") as log:
        ran = run_as(cluster.home, ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *argv], stderr=log.fileno())
    return int(ran.stdout)


def _await_ready(cluster: Cluster, launched: int, log_start: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if read_pid_file(cluster.data_dir) == (launched, "ready", cluster.port):
            return
        if not is_alive(launched):
            with cluster.log_file.open("rb") as log:
                log.seek(log_start)
                raise ClusterError(explain(log.read().decode(errors="replace"), cluster.data_dir))
        time.sleep(0.02)
    raise ClusterError(f"PostgreSQL is not ready after {START_SECONDS} s: see {cluster.log_file}")


def _choose_port(home: Home, settings: Mapping[str, str]) -> int:
    """Return the port of the running server, else the asked one, else the last one, else a free one."""
    running = read_pid_file(home.data_dir)
    if running and is_server(running[0], home.data_dir):
        return running[2]
    if "port" in settings:
        return int(settings["port"])
    text = home.port_file.read_text().strip() if home.port_file.exists() else ""
    if text.isdigit() and wait(lambda: is_free(int(text)), PORT_SECONDS):
        return int(text)
    port = next(p for p in random.sample(PORTS, 200) if is_free(p))
    write_private(home.port_file, str(port))
    return port


def _remembered(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        write_private(path, make())
    return path.read_text().strip()


def _open_log(log_file: Path) -> int:
    """Return where new lines will begin, after creating the log, or emptying one that has grown too long."""
    if log_file.exists() and (size := log_file.stat().st_size) < LOG_BYTES:
        return size
    write_private(log_file, "")
    return 0
