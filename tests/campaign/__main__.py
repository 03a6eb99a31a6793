"""The command line of the campaigns: the same tests as CI's, by the thousand, with the seed that replays them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import click

from app.config import ROOT


@dataclass(frozen=True)
class Campaign:
    """`count` is how many it takes to prove it; the variables are those that its test reads."""

    test: str
    only: str
    count: int
    counted_by: str
    seeded_by: str | None = None


MONEY = "tests/jobs/test_money_interleavings.py"
CAMPAIGNS = {
    "steps": Campaign("tests/jobs/test_interleavings.py", "random", 5_000, "POSTBOX_ORDERS", "POSTBOX_ORDERS_SEED"),
    "orders": Campaign(MONEY, "random", 5_000, "POSTBOX_MONEY_ORDERS", "POSTBOX_MONEY_SEED"),
    "lives": Campaign(MONEY, "random", 20_000, "POSTBOX_MONEY_ORDERS", "POSTBOX_MONEY_SEED"),
    "machine": Campaign("tests/machine/test_money_machine.py", "", 2_000, "POSTBOX_MACHINE_EXAMPLES"),
    "damage": Campaign("tests/reconciliation/test_campaign.py", "", 10_000, "POSTBOX_CAMPAIGN"),
}


@click.command()
@click.argument("name", type=click.Choice(list(CAMPAIGNS)))
@click.option("--count", type=click.IntRange(min=1), help="Each campaign has its own default.")
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed; a failure names its own.")
@click.option("--processes", "-n", type=click.IntRange(min=0), default=2, show_default=True)
def campaign(name: str, count: int | None, seed: int, processes: int) -> None:
    """Steps, orders and lives of one payment, any sequence of anything on many, or damage to the books of thousands."""
    chosen = CAMPAIGNS[name]
    env = {**os.environ, "PYTHONPATH": str(ROOT), chosen.counted_by: str(count or chosen.count)}
    if chosen.seeded_by:
        env[chosen.seeded_by] = str(seed)
    # what is one test runs in one process, and what it says is wanted
    spread = ["-n", str(processes)] if chosen.seeded_by else ["-n", "0", "-s"]
    argv = [sys.executable, "-m", "pytest", "--rootdir", str(ROOT), "-c", str(ROOT / "setup.cfg"), chosen.test, *spread]
    began = time.monotonic()
    code = subprocess.run([*argv, *(["-k", chosen.only] if chosen.only else [])], cwd=ROOT, env=env, check=False)
    seeds = f", seeds {seed} to {seed + (count or chosen.count) - 1}" if chosen.seeded_by else ""
    click.echo(f"{name}: {count or chosen.count:,} in {time.monotonic() - began:,.0f} s{seeds}")
    sys.exit(code.returncode)


if __name__ == "__main__":
    campaign(prog_name="bin/campaign")
