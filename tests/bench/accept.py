"""Accepted payments per second: real HTTP against gunicorn, and pgbench of the statements of one POST."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.bench import pgbench
from tests.bench.arena import Arena, check
from tests.bench.http import drive
from tests.bench.measure import Series, ratio
from tests.bench.script import acting, literal, statement
from tests.bench.web import free_port, serving

# As many as gunicorn has threads (2 x 8): more would queue in it.
CLIENTS = 16
# Before each first repeat: imports, pools and prepared statements.
WARM_UP = 200
# About what an answer of POST /v1/payments weighs.
ANSWER_BYTES = 650


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The same number of payments by HTTP and by pgbench in turns, into one database that grows under both."""
    http = Series(f"HTTP POST /v1/payments, {CLIENTS} keep-alive clients", "payments/s")
    sql = Series(f"pgbench: the SQL of one POST, {CLIENTS} clients", "payments/s")
    with arena.database() as database, serving(arena, database, free_port()) as web:
        script = script_of_one_post(web.key_id)
        drive(web.port, web.request, count=min(WARM_UP, payments), clients=CLIENTS)
        pgbench.run(arena, database, script, clients=CLIENTS, transactions=min(WARM_UP, payments), name="accept")
        for repeat in range(1, repeats + 1):
            began = time.perf_counter()
            answers = drive(web.port, web.request, count=payments, clients=CLIENTS)
            http.rates.append(len(answers) / (time.perf_counter() - began))
            http.latencies += [answer.seconds for answer in answers]
            progress(f"repeat {repeat} of {repeats}: HTTP {http.rates[-1]:,.0f} payments/s")
            rate, latencies = pgbench.run(
                arena, database, script, clients=CLIENTS, transactions=payments, name="accept"
            )
            sql.rates.append(rate)
            sql.latencies += latencies
            progress(f"repeat {repeat} of {repeats}: pgbench {rate:,.0f} payments/s")
        progress("checking every invariant")
        violations = check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [http.summary(), sql.summary()],
        "ratios": {"accept_vs_pgbench": ratio(http, sql)},
        "violations": violations,
        "note": "one transaction each: authenticate, idempotency key, payment, audit, event, delivery, job,"
        " stored answer; no worker runs, and the HTTP clients use the same cores",
    }


def script_of_one_post(key_id: str) -> str:
    """What one POST /v1/payments sends, in as many round trips."""
    api = {
        "role": "'postbox_api'", "statement_timeout": "'5000ms'", "lock_timeout": "'1000ms'",
        "idle_timeout": "'10000ms'", "actor_type": "'api'", "actor_id": literal(key_id),
        "request_id": "'req_' || :key::text",
    }  # fmt: skip
    merchant, key = ":merchant_id::uuid", "'bench ' || :key::text"
    payment = {
        "merchant_id": merchant, "livemode": "false", "provider": "'stripe'", "account": "'default'", "amount": "1000",
        "currency": "'usd'", "method": "'card'", "method_token": "'pm_card_visa'", "capture_method": "'automatic'",
        "return_url": "'https://shop.example/back'", "reference": "'order ' || :key::text",
        "description": "'Two chairs'", "statement_descriptor": "null", "metadata": """'{"basket": "1"}'::jsonb""",
    }  # fmt: skip
    return "\n".join(
        [
            "\\set key random(1, 9000000000000000000)",
            "begin;",
            acting("transactions.begin_as", api) + ";",
            statement("api_keys.authenticate", key_id=literal(key_id)) + " \\gset",
            statement(
                "idempotency_keys.claim", merchant_id=merchant, key=key, fingerprint="decode(repeat('ab', 32), 'hex')"
            )
            + ";",
            statement("payments.create", **payment) + ";",
            statement(
                "idempotency_keys.keep",
                merchant_id=merchant,
                key=key,
                status="201",
                body=f"convert_to(repeat('x', {ANSWER_BYTES}), 'UTF8')",
            )
            + ";",
            "commit;",
        ]
    )
