"""What processes cost, from /proc: CPU time, which on a busy machine stays the same, and memory; and how long they
waited for a core, which does not. Linux only.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.dev.postgres import Cluster
from tests.bench.memory import peak_megabytes

# What drives the load: our own threads, and pgbench once it has ended.
CLIENTS, PGBENCH = "clients", "pgbench"


@dataclass(frozen=True)
class Cpu:
    """Seconds since each began: each of our processes, what drives them, and the server with every backend it had.

    `peak_mb` is the most memory that each of our processes has had resident; `waiting` and `server_waiting` are how
    long each of their threads that are still there could have run and had no core.
    """

    each: Mapping[str, float]
    driving: Mapping[str, float]
    server: float
    peak_mb: Mapping[str, float]
    waiting: Mapping[str, float]
    server_waiting: Mapping[str, float]

    def since(self, before: Cpu) -> Cpu:
        return Cpu(
            {name: seconds - before.each.get(name, 0.0) for name, seconds in self.each.items()},
            {name: seconds - before.driving[name] for name, seconds in self.driving.items()},
            self.server - before.server,
            self.peak_mb,
            _increase(self.waiting, before.waiting),
            _increase(self.server_waiting, before.server_waiting),
        )

    @property
    def processes(self) -> float:
        """Of all our processes together."""
        return sum(self.each.values())


def named(name: str, pids: Iterable[int]) -> dict[str, int]:
    """Processes of one kind: `worker 1`, `worker 2`."""
    return {f"{name} {place}": pid for place, pid in enumerate(pids, 1)}


def used(cluster: Cluster, processes: Mapping[str, int]) -> Cpu:
    """What the server and these processes have used so far; a process that is gone counts nothing."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = {int(path.name): _stat(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    postmaster = cluster.pid()
    backends = {pid: stat for pid, stat in stats.items() if stat and postmaster in (pid, stat.parent)}
    server = sum(stat.own + (stat.reaped if pid == postmaster else 0) for pid, stat in backends.items())
    each = {name: stat.own / tick for name, pid in processes.items() if (stat := stats.get(pid))}
    driving = {CLIENTS: _own(resource.RUSAGE_SELF), PGBENCH: _own(resource.RUSAGE_CHILDREN)}
    return Cpu(
        each, driving, server / tick, {name: peak_megabytes([pid]) for name, pid in processes.items()},
        waiting=_waiting(processes.values()), server_waiting=_waiting(backends),
    )  # fmt: skip


def _increase(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Of each thread that still is."""
    return {thread: seconds - before.get(thread, 0.0) for thread, seconds in now.items()}


def _waiting(pids: Iterable[int]) -> dict[str, float]:
    """The second of three numbers is what the kernel counts of a thread that is runnable and does not run."""
    found = {}
    for pid in pids:
        # a process or a thread may end at any moment
        with suppress(OSError):
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    found[str(path)] = int(path.read_text().split()[1]) / 1e9
    return found


def _own(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class _Stat:
    parent: int
    own: int
    reaped: int


def _stat(process: Path) -> _Stat | None:
    try:
        text = (process / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(parent=int(fields[1]), own=int(fields[11]) + int(fields[12]), reaped=int(fields[13]) + int(fields[14]))
