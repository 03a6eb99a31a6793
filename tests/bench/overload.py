"""More than can be served: what is accepted, what is refused and how soon, while everybody asks as fast as they can."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from app.model.public_id import PAYMENT, parse
from tests.bench.arena import Arena
from tests.bench.http import Answer, drive
from tests.bench.measure import Series, ratio, spending
from tests.bench.web import free_port, serving
from tests.fixtures.database import Clone

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
                told = (series, refused) if clients == MANY else (series,)
                with spending(arena.cluster, web.processes(), payments, *told):
                    began = time.perf_counter()
                    answers = drive(web.port, web.request, count=payments, clients=clients, expect=ANSWERS)
                    seconds = time.perf_counter() - began
                accepted, others = _assert_kept(database, answers), [one for one in answers if one.status != 201]
                series.add(len(accepted) / seconds, [answer.seconds for answer in accepted])
                if clients == MANY:
                    refused.add(len(others) / seconds, [answer.seconds for answer in others])
            progress(f"repeat {repeat} of {repeats}: {few.rates[-1]:,.0f} and {many.rates[-1]:,.0f} accepted/s")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [few.summary(), many.summary(), refused.summary()],
        "ratios": {"overload_vs_few": ratio(many, few)},
        "violations": violations,
        "note": "what is refused is refused with 429 or 503 and Retry-After, each answer looked at; every payment that"
        " a 201 named was looked up afterwards. Nobody asks again before he has his answer, which is kind to the"
        " server; `bin/load overload` goes on asking",
    }


def _assert_kept(database: Clone, answers: list[Answer]) -> list[Answer]:
    """Those that were accepted, each of which is there; whoever was refused knows when to come again."""
    accepted = [answer for answer in answers if answer.status == 201]
    for answer in answers:
        assert answer.status == 201 or b"\r\nretry-after: " in answer.head.lower(), f"no Retry-After: {answer}"
    ids = {str(parse(PAYMENT, json.loads(answer.body)["id"])) for answer in accepted}
    assert len(ids) == len(accepted), "each was told its own payment"
    conn = database.connect(admin=True)
    found = conn.execute("select id::text from payments where id = any(%s::uuid[])", [list(ids)]).fetchall()
    lost = ids - {row["id"] for row in found}
    assert not lost, f"{len(lost)} that were accepted are lost, one is {min(lost)}"
    return accepted
