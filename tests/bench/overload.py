"""More than can be served: what is accepted, what is refused and how soon, while everybody asks as fast as they can."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.bench.arena import Arena
from tests.bench.http import drive
from tests.bench.measure import Series, ratio
from tests.bench.web import free_port, serving

# As many as there are threads, and many times as many.
FEW, MANY = 16, 128
# Accepted, and refused for a moment: a rate that is spent, a machine that is busy.
ANSWERS = (201, 429, 503)


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The same POSTs from few clients and from many, in turns."""
    few = Series(f"{FEW} clients: accepted", "payments/s")
    many = Series(f"{MANY} clients: accepted", "payments/s")
    refused = Series(f"{MANY} clients: refused", "answers/s")
    with arena.database() as database, serving(arena, database, free_port()) as web:
        drive(web.port, web.request, count=min(200, payments), clients=FEW, expect=ANSWERS)
        for repeat in range(1, repeats + 1):
            for clients, series in ((FEW, few), (MANY, many)):
                began = time.perf_counter()
                answers = drive(web.port, web.request, count=payments, clients=clients, expect=ANSWERS)
                seconds = time.perf_counter() - began
                accepted = [answer.seconds for answer in answers if answer.status == 201]
                series.add(len(accepted) / seconds, accepted)
                if clients == MANY:
                    refused.add(
                        (len(answers) - len(accepted)) / seconds,
                        [answer.seconds for answer in answers if answer.status != 201],
                    )
            progress(f"repeat {repeat} of {repeats}: {few.rates[-1]:,.0f} and {many.rates[-1]:,.0f} accepted/s")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [few.summary(), many.summary(), refused.summary()],
        "ratios": {"overload_vs_few": ratio(many, few)},
        "violations": violations,
        "note": "what is refused is refused with 429 or 503 and Retry-After; nothing that was accepted is lost",
    }
