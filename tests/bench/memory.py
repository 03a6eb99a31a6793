"""Reads the most memory that a process has ever had resident, from /proc. Linux only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def peak_megabytes(pids: Iterable[int]) -> float:
    """Of the largest of these processes that still runs."""
    return round(max(_peak(pid) for pid in pids), 1)


def _peak(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")) / 1024


def children_of(pid: int) -> list[int]:
    """The processes that this one started, and theirs."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and _parent(path) == pid:
            found += [int(path.name), *children_of(int(path.name))]
    return found


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
