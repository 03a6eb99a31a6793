"""Describes what a number was measured on: without it no number means anything."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.config import ROOT
from tests.fixtures.database import Connection

# What durability rests on; a run with one of them off would measure something else.
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
# What differs from a PostgreSQL as it comes, which `bin/run` has.
SET = ("shared_buffers", "max_wal_size", "checkpoint_timeout")
TOLD = (*DURABLE, *SET, "wal_level", "max_connections")
# A commit with something changed, which nobody else can measure; and what `--readme` writes, which changes no figure.
DIRTY, WRITTEN = "-dirty", (":!README.md", ":!docs/bench.svg")


def describe(conn: Connection) -> dict[str, Any]:
    """The machine, the versions, the commit and the settings of the server. Refuses a server that is not durable."""
    settings = {name: conn.execute(f"show {name}").fetchone()[name] for name in TOLD}  # type: ignore[index]
    assert all(settings[name] == "on" for name in DURABLE), f"the server is not durable: {settings}"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": conn.info.parameter_status("server_version"),
        "procrastinate": version("procrastinate"),
        "psycopg": version("psycopg"),
        "commit": commit(),
        "settings": settings,
    }


def told(machine: dict[str, Any]) -> str:
    """One paragraph for people: where it was measured, and when."""
    return f"{where(machine)}; {when(machine)}"


def where(machine: dict[str, Any]) -> str:
    """The machine, the versions and the settings, which several runs have in common."""
    settings = ", ".join(f"{name} {machine['settings'][name]}" for name in (*DURABLE, *SET))
    return (
        f"{machine['cores']} cores ({machine['cpu']}) shared by everything, {machine['memory_gb']} GB; "
        f"PostgreSQL {machine['postgresql']} (embedded: {settings}), Python {machine['python']}, "
        f"Procrastinate {machine['procrastinate']}, psycopg {machine['psycopg']}"
    )


def when(machine: dict[str, Any]) -> str:
    """The commit, the time, and how much else the machine did when the run began."""
    return f"commit {machine['commit']}, {machine['at']}, load {machine['load_before']} before"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """What is measured; `-dirty` when a file of it was changed, other than those that a run writes itself."""
    named = _git("describe", "--always") or "unknown"
    return f"{named}{DIRTY}" if _git("diff", "--name-only", "HEAD", "--", ".", *WRITTEN) else named


def _git(*argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True).stdout.strip()
