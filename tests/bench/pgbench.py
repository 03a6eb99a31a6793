"""Runs pgbench on a script: the same SQL with no Python, over the same wire and the same number of round trips."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.bench.arena import Arena
from tests.fixtures.database import Clone

_TPS = re.compile(r"^tps = (?P<tps>[\d.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (?P<failed>\d+)", re.MULTILINE)


def run(
    arena: Arena, database: Clone, script: str, *, clients: int, transactions: int, name: str, role: str = "none"
) -> tuple[float, list[float]]:
    """Transactions per second and the seconds of each; `transactions` is for all clients together.

    `role` is the session's own; a pipeline needs it, because pgbench prepares its statements before the first runs.
    """
    directory = arena.directory / f"pgbench-{name}"
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    (directory / "script.sql").write_text(script)
    each = max(1, transactions // clients)
    argv = [str(arena.cluster.bin_dir / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={clients}"]
    argv += [f"--jobs={min(clients, os.cpu_count() or 1)}", f"--transactions={each}", "--file=script.sql", "--log"]
    options = f"-c role={role} -c search_path=postbox,procrastinate -c timezone=UTC -c client_min_messages=warning"
    ran = subprocess.run(
        [*argv, database.url], cwd=directory, env={**os.environ, "PGOPTIONS": options}, capture_output=True, text=True
    )
    tps, failed = _TPS.search(ran.stdout), _FAILED.search(ran.stdout)
    assert ran.returncode == 0 and tps and failed and failed["failed"] == "0", f"pgbench: {ran.stdout}{ran.stderr}"
    return float(tps["tps"]), _latencies(directory)


def _latencies(directory: Path) -> list[float]:
    """The third column of pgbench's log is the time of a transaction in microseconds."""
    logs = [path for path in directory.iterdir() if path.name.startswith("pgbench_log.")]
    return [int(line.split()[2]) / 1e6 for path in logs for line in path.read_text().splitlines()]
