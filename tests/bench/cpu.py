"""Reads the CPU time that processes used, from /proc: unlike a rate, it says the same on a busy machine. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.dev.postgres import Cluster


@dataclass(frozen=True)
class Cpu:
    """Seconds since each began: our processes, and the whole server with every backend it ever had."""

    clients: float
    server: float

    def since(self, before: Cpu) -> Cpu:
        return Cpu(self.clients - before.clients, self.server - before.server)


def used(cluster: Cluster, pids: Iterable[int]) -> Cpu:
    """What the server and the processes of these ids have used so far; a process that is gone counts nothing."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = {int(path.name): _stat(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    postmaster = cluster.pid()
    server = sum(
        stat.own + (stat.reaped if pid == postmaster else 0)
        for pid, stat in stats.items()
        if stat and postmaster in (pid, stat.parent)
    )  # fmt: skip
    return Cpu(sum(stat.own for pid in pids if (stat := stats.get(pid))) / tick, server / tick)


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
