"""The command line of the campaigns: the same tests as CI's, by the thousand, with the seed that replays them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from app.config import ROOT
from tests.campaign.progress import VARIABLE, done

# How often the bar moves.
EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Campaign:
    """`count` is how many it takes to prove it; the variables are those that its test reads."""

    test: str
    only: str
    count: int
    counted_by: str
    seeded_by: str | None = None
    # whether its test says of each that it is done
    tells: bool = True


MONEY = "tests/jobs/test_money_interleavings.py"
CAMPAIGNS = {
    "steps": Campaign("tests/jobs/test_interleavings.py", "random", 5_000, "POSTBOX_ORDERS", "POSTBOX_ORDERS_SEED"),
    "orders": Campaign(MONEY, "random", 5_000, "POSTBOX_MONEY_ORDERS", "POSTBOX_MONEY_SEED"),
    "lives": Campaign(MONEY, "random", 20_000, "POSTBOX_MONEY_ORDERS", "POSTBOX_MONEY_SEED"),
    "machine": Campaign("tests/machine/test_money_machine.py", "", 2_000, "POSTBOX_MACHINE_EXAMPLES"),
    "damage": Campaign("tests/reconciliation/test_campaign.py", "", 10_000, "POSTBOX_CAMPAIGN", tells=False),
}


@click.command()
@click.argument("name", type=click.Choice(list(CAMPAIGNS)))
@click.option("--count", type=click.IntRange(min=1), help="Each campaign has its own default.")
@click.option("--from", "--seed", "first", type=int, default=1, show_default=True, help="The first seed of `count`.")
@click.option("--processes", "-n", type=click.IntRange(min=0), default=2, show_default=True)
def campaign(name: str, count: int | None, first: int, processes: int) -> None:
    """Steps, orders and lives of one payment, any sequence of anything on many, or damage to the books of thousands.

    Steps, orders and lives go by seed, so a campaign can be run in parts: --from 10001 --count 10000.
    """
    chosen = CAMPAIGNS[name]
    count = count or chosen.count
    env = {**os.environ, "PYTHONPATH": str(ROOT), chosen.counted_by: str(count)}
    if chosen.seeded_by:
        env[chosen.seeded_by] = str(first)
        click.echo(f"{name}: {count:,}, seeds {first} to {first + count - 1}")
    # what is one test runs in one process, and what it says is wanted
    spread = ["-n", str(processes)] if chosen.seeded_by else ["-n", "0", "-s"]
    argv = [sys.executable, "-m", "pytest", "--rootdir", str(ROOT), "-c", str(ROOT / "setup.cfg"), chosen.test, *spread]
    began = time.monotonic()
    argv += ["-k", chosen.only] if chosen.only else []
    run = _run_with_bar if chosen.tells else _run
    code = run(argv, env, count)
    seconds = time.monotonic() - began
    seeds = f", seeds {first} to {first + count - 1}" if chosen.seeded_by else ""
    click.echo(f"{name}: {count:,} in {seconds:,.0f} s, {seconds / count * 1_000:,.0f} s for each thousand{seeds}")
    sys.exit(code)


def _run(argv: list[str], env: dict[str, str], count: int) -> int:
    return subprocess.run(argv, cwd=ROOT, env=env, check=False).returncode


def _run_with_bar(argv: list[str], env: dict[str, str], count: int) -> int:
    """Run the tests with a bar of how many are done; what they print comes after it."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as directory:
        progress, printed = Path(directory) / "progress", Path(directory) / "printed"
        progress.touch()
        with printed.open("wb") as output, Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("done", total=count)
            tests = subprocess.Popen(
                argv, cwd=ROOT, env={**env, VARIABLE: str(progress)}, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                while tests.poll() is None:
                    time.sleep(EVERY_SECONDS)
                    bar.update(task, completed=done(progress))
            finally:
                tests.terminate()
        click.echo(printed.read_text(errors="replace"))
        return tests.wait()


if __name__ == "__main__":
    campaign(prog_name="bin/campaign")
