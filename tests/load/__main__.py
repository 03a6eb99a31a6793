"""The command line of the load programs: on a durable PostgreSQL of its own, what came of it, and if that will do."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from app.config import ROOT
from cli.dev.processes import read_procfile
from tests.bench import machine
from tests.bench.arena import Arena, arena, check, until
from tests.bench.web import READY_SECONDS, _is_ready, free_port
from tests.fixtures.database import Clone
from tests.load import scenarios
from tests.load.loris import Crowd, healthy

# What is wanted of each; the command ends with 1 when it is missed.
GOODPUT, TIMES, SLOWEST_SECONDS, CROWD = 0.8, 2.0, 1.0, 1_000
# The closed loop that finds the capacity runs for this part of the whole.
MEASURED = 0.25


def overload(place: scenarios.Place, seconds: float) -> tuple[dict[str, Any], bool]:
    found, _ = scenarios.overload(place, seconds=seconds, measured_for=max(5.0, seconds * MEASURED))
    good = found["goodput of the peak"] >= GOODPUT
    return found, good and not found["misbehaved"] and not found["acknowledged and lost"]


def neighbour(place: scenarios.Place, seconds: float) -> tuple[dict[str, Any], bool]:
    found, _, _ = scenarios.neighbour(place, seconds=seconds, measured_for=max(5.0, seconds * MEASURED))
    return found, all(found[f"{kind}s: times"] <= TIMES for kind in ("read", "write")) and not found["misbehaved"]


def loris(place: scenarios.Place, seconds: float) -> tuple[dict[str, Any], bool]:
    key = place.merchants(1)[0]
    with place.serve() as port:
        healthy(port, key, seconds=1)
        with Crowd(port, CROWD) as crowd:
            answers = healthy(port, key, seconds=seconds)
            connected = crowd.connected
    slowest = max(taken for taken, _ in answers)
    found = {
        "slow connections": connected,
        "opened in all": crowd.opened,
        "what they were told": dict(crowd.seen),
        "healthy requests": len(answers),
        "slowest of them, s": round(slowest, 3),
        "refused of them": len([status for _, status in answers if status != 200]),
    }
    return found, slowest < SLOWEST_SECONDS and connected == CROWD and not found["refused of them"]


PROGRAMS: dict[str, Callable[[scenarios.Place, float], tuple[dict[str, Any], bool]]] = {
    "overload": overload,
    "neighbour": neighbour,
    "loris": loris,
}


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(PROGRAMS)), metavar="|".join(PROGRAMS))
@click.option("--seconds", type=click.IntRange(min=2, max=600), default=60, show_default=True)
def load(names: tuple[str, ...], seconds: int) -> None:
    """Load a gateway with two processes on this machine, on loopback only."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    missed = []
    with arena() as here:
        for name in names:
            with here.database() as database:
                missed += [] if run(here, database, name, seconds) else [name]
    sys.exit(1 if missed else 0)


def run(here: Arena, database: Clone, name: str, seconds: int) -> bool:
    """One program on a database of its own; prints what it measured and on what machine."""
    sql = database.connect(admin=True)
    click.echo(machine.told(machine.describe(sql)))
    place = scenarios.Place(sql, lambda **env: serve(here, database, **env))
    found, good = PROGRAMS[name](place, seconds)
    check(database, quiesced=False)
    click.echo(f"{name}, {seconds} s: {'as wanted' if good else 'MISSED'}; load {os.getloadavg()[0]:.1f} after")
    click.echo(json.dumps(found, indent=1))
    return good


@contextmanager
def serve(here: Arena, database: Clone, **env: str) -> Iterator[int]:
    """gunicorn as the Procfile has it, until the block ends."""
    port = free_port()
    _, *argv = read_procfile(ROOT / "Procfile")["web"]
    bound = {"PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}", **env}
    with here.running("web", "-m", "gunicorn", *argv, env=here.environment(database, **bound)):
        until(lambda: _is_ready(port), f"the gateway:\n{here.log('web')}", seconds=READY_SECONDS)
        yield port


if __name__ == "__main__":
    load(prog_name="bin/load")
