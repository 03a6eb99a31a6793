"""The command line of the load programs: on a durable PostgreSQL of its own, what came of it, and if that will do."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
# Arrivals are random: five times the peak is offered within a tenth.
OFFERED = scenarios.OVERLOAD * 0.9
# The closed loop that finds the capacity runs for this part of the whole.
MEASURED = 0.25


@dataclass(frozen=True)
class Aim:
    """One number that is wanted of a program, and what was found."""

    what: str
    found: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def is_met(self) -> bool:
        return self.least <= self.found <= self.most  # a number that is none meets nothing

    def __str__(self) -> str:
        wanted = [f"at least {self.least:g}"] if self.least > -math.inf else []
        wanted += [f"at most {self.most:g}"] if self.most < math.inf else []
        return f"{'ok    ' if self.is_met else 'MISSED'} {self.what}: {self.found:g} ({', '.join(wanted)})"


Found = tuple[dict[str, Any], list[Aim]]


def overload(place: scenarios.Place, seconds: float) -> Found:
    found, _ = scenarios.overload(place, seconds=seconds, measured_for=max(5.0, seconds * MEASURED))
    return found, [
        Aim("goodput, of the peak", found["goodput of the peak"], least=GOODPUT),
        Aim("answers but 2xx, and 429 or 503 with Retry-After", found["misbehaved"], most=0),
        Aim("acknowledged payments lost", found["acknowledged and lost"], most=0),
        Aim("offered, of the peak", found["offered writes/s"] / found["peak writes/s"], least=OFFERED),
    ]


def neighbour(place: scenarios.Place, seconds: float) -> Found:
    found, _, _ = scenarios.neighbour(place, seconds=seconds, measured_for=max(5.0, seconds * MEASURED))
    return found, [
        *(Aim(f"p99 of the others' {kind}s with the loud one, times that without", found[f"{kind}s: times"], most=TIMES)
          for kind in ("read", "write")),
        Aim("answers but 2xx, and 429 or 503 with Retry-After", found["misbehaved"], most=0),
        Aim("others' requests refused for another's limit", found["others' answers with"].get(429, 0), most=0),
    ]  # fmt: skip


def loris(place: scenarios.Place, seconds: float) -> Found:
    key = place.merchants(1)[0]
    with place.serve() as port:
        healthy(port, key, seconds=1)
        with Crowd(port, CROWD) as crowd:
            answers = healthy(port, key, seconds=seconds)
            connected = crowd.connected
    slowest = max(taken for taken, _ in answers)
    found = {
        "opened in all": crowd.opened,
        "what they were told": dict(crowd.seen),
        "healthy requests": len(answers),
    }
    refused = len([status for _, status in answers if status != 200])
    return found, [
        Aim("slow connections at the end", connected, least=CROWD),
        Aim("slowest answer to the healthy client, s", round(slowest, 3), most=SLOWEST_SECONDS),
        Aim("healthy requests refused", refused, most=0),
    ]


PROGRAMS: dict[str, Callable[[scenarios.Place, float], Found]] = {
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
    """One program on a database of its own; prints what it measured, on what machine, and whether each aim was met."""
    sql = database.connect(admin=True)
    click.echo(machine.told(machine.describe(sql)))
    place = scenarios.Place(sql, lambda **env: serve(here, database, **env))
    found, aims = PROGRAMS[name](place, seconds)
    check(database, quiesced=False)
    click.echo(json.dumps(found, indent=1))
    click.echo("\n".join(map(str, aims)))
    good = all(aim.is_met for aim in aims)
    click.echo(f"{name}, {seconds} s: {'as wanted' if good else 'MISSED'}; load {os.getloadavg()[0]:.1f} after")
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
