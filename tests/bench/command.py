"""The command line of the harness: which benchmarks, how large, where the numbers go."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import rich.box
from rich.console import Console
from rich.table import Table

from app.config import ROOT
from tests.bench import (
    accept,
    compare,
    deliver,
    e2e,
    fairness,
    flight,
    growth,
    machine,
    overload,
    reconcile,
    shapes,
    snapshot,
    standing,
    trace,
    webhook,
)
from tests.bench.arena import Arena, arena
from tests.bench.latest import merged, ratios
from tests.bench.page import page
from tests.bench.promised import PROMISED, assert_told
from tests.bench.readme import write as write_readme

RESULTS = ROOT / "bench-results"

Measure = Callable[..., dict[str, Any]]
# What each measures, and how many payments one repeat takes unless told.
BENCHES: dict[str, tuple[Measure, int]] = {
    "accept": (accept.measure, 4_000),
    "webhook": (webhook.measure, 4_000),
    "deliver": (deliver.measure, 8_000),
    "peers": (compare.measure, 8_000),
    "e2e": (e2e.measure, 150),
    "reconcile": (reconcile.measure, 10_000),
    "trace": (trace.measure, 20_000),
    "growth": (growth.measure, 1_000_000),
    "snapshot": (snapshot.measure, 10_000),
    "backlog": (standing.measure, 1_000_000),
    "overload": (overload.measure, 2_000),
    "fairness": (fairness.measure, 100_000),
    "flight": (flight.measure, 400),
    "shapes": (shapes.measure, 1_500),
}

# What was promised. What else the README tells, of snapshot, backlog and flight, is measured by their names.
FOR_README = tuple(name for name in BENCHES if any(name in one.by for one in PROMISED))

# What a table shows of a variant, and to how many places.
COLUMNS = {
    "median": "median", "payments_per_second": "payments/s", "deliveries_per_second": "deliveries/s",
    "lowest": "lowest", "highest": "highest", "p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms",
    "worker_cpu_ms": "process CPU ms", "server_cpu_ms": "server CPU ms", "peak_mb": "peak MB",
}  # fmt: skip
PLACES = {"worker_cpu_ms": 2, "server_cpu_ms": 2}

# What is told of each process, and to how many places.
OF_EACH = {"cpu_ms": ("CPU ms for one:", 2), "peak_mb": ("MB at most:", 0)}

# Figures go into files and logs: what is no terminal is as wide as they need.
console = Console() if sys.stdout.isatty() else Console(width=180)


def _sizes(_: click.Context, __: click.Parameter, text: str | None) -> list[int]:
    try:
        return [int(size) for size in text.split(",")] if text else []
    except ValueError:
        raise click.BadParameter("numbers with a comma between them") from None


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)), metavar="|".join(BENCHES))
@click.option(
    "--payments",
    type=click.IntRange(min=10),
    help="Payments of one repeat; each benchmark has its own default, and with fewer it is a try.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--json", "to", type=click.Path(dir_okay=False, path_type=Path), help="Default: bench-results/<time>.json."
)
@click.option("--time-scale", default=1.0, show_default=True, help="Multiplies every wait; other than 1 is a try.")
@click.option("--sizes", callback=_sizes, help="growth: how many payments, as in 10000,1000000.")
@click.option(
    "--snapshot-age",
    type=click.FloatRange(min=0),
    default=snapshot.SNAPSHOT_AGE,
    show_default=True,
    help="snapshot: how old it is at least, in seconds; younger is a try.",
)
@click.option("--profile", is_flag=True, help="accept: where the web processes spend their time, by py-spy.")
@click.option(
    "--readme",
    is_flag=True,
    help=f"Write the README's tables and docs/bench.svg; unless told it measures {' '.join(FOR_README)}.",
)
@click.option("--keep", is_flag=True, help="Leave the PostgreSQL of this run up, with its URL, and its logs.")
def bench(
    names: tuple[str, ...],
    payments: int | None,
    repeats: int,
    to: Path | None,
    readme: bool,
    keep: bool,
    time_scale: float,
    sizes: list[int],
    snapshot_age: float,
    profile: bool,
) -> None:
    """Measure on this machine, on a durable PostgreSQL of its own; what is compared runs in turns within one run.

    A try has its JSON and its page, and changes neither latest.json nor the README.
    """
    asked = {
        "growth": {"sizes": sizes},
        "snapshot": {"snapshot_age": snapshot_age},
        "accept": {"profile": profile},
    }
    names = names or (FOR_README if readme else ())
    if not names:
        raise click.UsageError(f"Name what to measure: {' '.join(BENCHES)}.")
    least = [few for few in (payments, max(sizes, default=None)) if few is not None]
    is_try = time_scale != 1 or snapshot_age < snapshot.SNAPSHOT_AGE
    is_try = is_try or any(few < BENCHES[name][1] for few in least for name in names)
    if is_try and readme:
        raise click.UsageError("The README tells no figures of a try: usual sizes, ages and waits.")
    if readme and machine.commit().endswith(machine.DIRTY):
        raise click.UsageError("The README tells no figures of code that is in no commit: commit first.")
    # PostgreSQL outlives us unless we end in order
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit("stopped"))
    to = to or RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    with console.status("starting PostgreSQL") as status, arena(keep=keep, time_scale=time_scale) as here:
        found: dict[str, Any] = {
            "command": " ".join(["bin/bench", *sys.argv[1:]]),
            "machine": _describe(here),
            "time_scale": time_scale,
            "is_try": is_try,
            "results": {},
            "failed": {},
        }
        console.print(machine.told(found["machine"]), highlight=False)
        for name in names:
            measure, usual = BENCHES[name]

            def progress(line: str, name: str = name) -> None:
                console.print(f"[dim]{name}: {line}[/]", highlight=False)
                status.update(f"{name}: {line}")

            given = {key: value for key, value in asked.get(name, {}).items() if value is not None and value != []}
            began = time.monotonic()
            here.checks.clear()
            try:
                result = measure(here, payments=payments or usual, repeats=repeats, progress=progress, **given)
                assert_told(name, result)
                result["checked"] = here.checked()
            except Exception as error:
                # what the others found and will find is not lost by it
                found["failed"][name] = f"{type(error).__name__}: {error}"
                console.print_exception()
            else:
                found["results"][name] = result | {"seconds": round(time.monotonic() - began)}
                _show(name, result)
            # some begin the server anew: what was measured is durable when it ends, too
            assert _describe(here)["settings"] == found["machine"]["settings"], f"{name} leaves the server as it was"
            found["machine"]["load_after"] = round(os.getloadavg()[0], 1)
            latest = _write(to, found)
        if keep:
            console.print(f"kept until the next run: {here.cluster.url()} and {here.directory}", highlight=False)
    if readme:
        missing = [one.key for one in PROMISED if one.key not in latest["runs"]]
        if missing:
            raise SystemExit(f"README.md stays as it is, because nothing has measured {', '.join(missing)}")
        write_readme(latest)
        console.print("[dim]README.md and docs/bench.svg[/]", highlight=False)
    if found["failed"]:
        raise SystemExit(f"failed: {', '.join(found['failed'])}")


def _write(to: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The run as JSON and as a page, and in latest.json beside them the newest of every ratio, unless it is a try."""
    found["ratios"] = ratios(found["results"])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(found) + "\n")
    to.with_suffix(".html").write_text(page(found, machine.told(found["machine"])))
    newest = to.parent / "latest.json"
    latest = merged(json.loads(newest.read_text()) if newest.exists() else {}, found)
    told = f"{to} and its page {to.with_suffix('.html').name}"
    if not found["is_try"]:
        # whole or not at all, whoever reads or kills
        written = newest.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(latest) + "\n")
        written.replace(newest)
        told += f", and {newest.name}"
    console.print(f"[dim]{told}[/]", highlight=False)
    return latest


def _describe(here: Arena) -> dict[str, Any]:
    with here.database() as database:
        return machine.describe(database.connect(admin=True))


def _show(name: str, result: dict[str, Any]) -> None:
    table = Table(title=f"{name}, {result['payments']} payments a repeat", title_justify="left", box=rich.box.SIMPLE)
    columns = {key: head for key, head in COLUMNS.items() if any(key in row for row in result["variants"])}
    table.add_column("", justify="left")
    for head in columns.values():
        table.add_column(head, justify="right")
    for row in result["variants"]:
        figures = ["" if row.get(key) is None else f"{row[key]:,.{PLACES.get(key, 0)}f}" for key in columns]
        table.add_row(f"{row['name']} ({row['unit']})", *figures)
    console.print(table)
    for row in result["variants"]:
        each = [f"{what} {_listed(row, f'{key} of ', places)}" for key, (what, places) in OF_EACH.items()]
        if any(f"{key} of " in name for key in OF_EACH for name in row):
            console.print(f"  [dim]{row['name'].partition(':')[0]}: {'; '.join(each)}[/]", highlight=False)
    for ratio, value in result["ratios"].items():
        console.print(f"  {ratio}: [bold]{value}[/]", highlight=False)
    console.print(f"  {result['note']}", highlight=False)
    console.print(f"  postbox check: {result['checked']}", highlight=False)


def _listed(row: dict[str, Any], of: str, places: int) -> str:
    found = {name.removeprefix(of): value for name, value in row.items() if name.startswith(of)}
    return ", ".join(f"{name} {value:,.{places}f}" for name, value in found.items())
