"""Accepted payments per second by how gunicorn is set up: its worker class, and how many processes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from app.config import ROOT
from cli.dev.processes import read_procfile
from tests.bench.accept import CLIENTS, WARM_UP
from tests.bench.arena import Arena, analyze
from tests.bench.cpu import used
from tests.bench.http import drive
from tests.bench.measure import Series
from tests.bench.web import Web, free_port, serving

# Processes and threads of each; what the Procfile says comes first, and has our worker class as all but the last.
DEFAULT, STOCK = (2, 8), "gthread"
SHAPES = (DEFAULT, (1, 16), (2, 4), (2, 16), (4, 4))


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The same number of payments by each in turn, into one database; all are up all the time, one is asked."""
    with arena.database() as database, ExitStack() as running:

        def serve(shape: tuple[int, int], worker_class: str | None = None) -> tuple[Series, Web]:
            processes, threads = shape
            name = f"{processes} processes of {threads} threads, {worker_class or 'ours'}"
            program = [*read_procfile(ROOT / "Procfile")["web"][1:]]
            program += ["--worker-class", worker_class] if worker_class else []
            counts = {"WEB_CONCURRENCY": str(processes), "POSTBOX_WEB_THREADS": str(threads)}
            pool = {"POSTBOX_API_POOL_SIZE": str(threads)}
            web = serving(arena, database, free_port(), name=name.replace(" ", "-"), program=program, **counts, **pool)
            return Series(name, "payments/s"), running.enter_context(web)

        served = [*(serve(shape) for shape in SHAPES), serve(DEFAULT, STOCK)]
        for _, web in served:
            drive(web.port, web.request, count=min(WARM_UP, payments), clients=CLIENTS)
        analyze(database)
        for repeat in range(1, repeats + 1):
            for series, web in served:
                before, began = used(arena.cluster, web.processes()), time.perf_counter()
                answers = drive(web.port, web.request, count=payments, clients=CLIENTS)
                series.add(payments / (time.perf_counter() - began), [answer.seconds for answer in answers])
                series.spent(used(arena.cluster, web.processes()).since(before), payments)
                progress(f"repeat {repeat} of {repeats}: {series.name} {series.rates[-1]:,.0f} payments/s")
        progress("checking every invariant")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [series.summary() for series, _ in served],
        "ratios": {},
        "violations": violations,
        "note": f"POST /v1/payments by {CLIENTS} keep-alive clients on the same cores; what ours is for, clients that"
        f" are slow, is not measured here: to them stock {STOCK} gives a thread each",
    }
