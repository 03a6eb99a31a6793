"""Accepted payments per second: real HTTP against gunicorn, and pgbench of the statements of one POST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app.model.api_key import ApiKey
from tests.bench import limits, pgbench, profiling
from tests.bench.arena import Arena, analyze
from tests.bench.http import drive
from tests.bench.measure import Series, ratio, spending
from tests.bench.promised import promise
from tests.bench.script import acting, literal, statement
from tests.bench.web import free_port, serving
from tests.fixtures.database import KEY_PEPPER, Clone

# As many as gunicorn has threads (2 x 8): more would queue in it.
CLIENTS = 16
# Before each first repeat: imports, pools and prepared statements.
WARM_UP = 200
# About what an answer of POST /v1/payments weighs.
ANSWER_BYTES = 650
# What stock Procrastinate does at every insert of a job, in the inserting transaction; Postbox has it disabled.
NOTIFY_TRIGGER = "procrastinate_jobs_notify_queue_job_inserted_v1"


def measure(
    arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None], profile: bool = False
) -> dict[str, Any]:
    """The same number of payments by each variant in turn, into one database that grows under all of them."""
    http = Series(f"HTTP POST /v1/payments, {CLIENTS} keep-alive clients", "payments/s")
    sql = Series(f"pgbench: the SQL of one POST, {CLIENTS} clients", "payments/s")
    stock = Series("pgbench: the same, each job told by stock Procrastinate's trigger", "payments/s")
    with arena.database() as database, serving(arena, database, free_port()) as web:
        script = script_of_one_post(web.key)

        def by_pgbench(count: int) -> tuple[float, list[float]]:
            return pgbench.run(
                arena, database, script, clients=CLIENTS, transactions=count, name="accept", role="postbox_api"
            )

        drive(web.port, web.request, count=min(WARM_UP, payments), clients=CLIENTS)
        by_pgbench(min(WARM_UP, payments))
        analyze(database)
        for repeat in range(1, repeats + 1):
            requests = [web.request(number) for number in range(payments)]
            with spending(arena.cluster, web.processes(), payments, http):
                began = time.perf_counter()
                answers = drive(web.port, requests.__getitem__, count=payments, clients=CLIENTS)
                http.add(len(answers) / (time.perf_counter() - began), [answer.seconds for answer in answers])
            with spending(arena.cluster, {}, payments, sql):
                sql.add(*by_pgbench(payments))
            with _stock_notifies(database), spending(arena.cluster, {}, payments, stock):
                stock.add(*by_pgbench(payments))
            told = ", ".join(f"{one.name.partition(':')[0]} {one.rates[-1]:,.0f}" for one in (http, sql, stock))
            progress(f"repeat {repeat} of {repeats}: {told} payments/s")
        for series in (http, sql, stock):
            series.count(payments=1, deliveries=1)
        seen = None
        if profile:
            progress(f"looking where the web processes spend {profiling.SECONDS} s")
            seen = profiling.profile(
                arena, web.process, lambda: drive(web.port, web.request, count=WARM_UP, clients=CLIENTS)
            )
        progress("checking every invariant")
        violations = arena.check(database, quiesced=False)
    return ({"profile": seen} if seen else {}) | {
        "payments": payments,
        "variants": [http.summary(), sql.summary(), stock.summary()],
        "ratios": {
            "accept_vs_pgbench": ratio(http, sql),
            "accept_vs_stock_notify": ratio(http, stock),
            "web_mb": max(http.samples["peak_mb"]),
        },
        "limits": {
            "accept_vs_pgbench": limits.by_cpu(http, sql, promise("accept_vs_pgbench").aim, "payment"),
            "web_mb": limits.by_imports(limits.WEB, max(http.samples["peak_mb"])),
        },
        "violations": violations,
        "note": "a token of the rate limit, then one transaction: authenticate, idempotency key, payment, audit, event,"
        " delivery, job, stored answer; a delivery is one enqueued, no worker runs; the clients use the same cores, and"
        " their requests are made before the clock starts; ANALYZE runs once, after the warm-up",
    }


@contextmanager
def _stock_notifies(database: Clone) -> Iterator[None]:
    """Every inserted job sends NOTIFY inside its transaction, as Procrastinate's schema comes."""
    conn = database.connect(admin=True)
    conn.execute(f"alter table procrastinate_jobs enable trigger {NOTIFY_TRIGGER}".encode())
    yield
    conn.execute(f"alter table procrastinate_jobs disable trigger {NOTIFY_TRIGGER}".encode())


def script_of_one_post(key: ApiKey) -> str:
    """What one POST /v1/payments sends, in as many round trips; the new payment is in :p_merchant_id and :p_id."""
    api = {
        "role": "'postbox_api'", "statement_timeout": "'5000ms'", "lock_timeout": "'1000ms'",
        "idle_timeout": "'10000ms'", "actor_type": "'api'", "actor_id": literal(key.id),
        "request_id": "'req_' || :key::text",
    }  # fmt: skip
    token = {
        "key_id": literal(key.id), "secret_hmac": f"'\\x{key.hmac(KEY_PEPPER).hex()}'::bytea", "class_": "'write'",
        "key_rate": "1000000", "key_burst": "1000000", "merchant_rate": "1000000", "merchant_burst": "1000000",
        "address": "'127.0.0.1'",
    }  # fmt: skip
    # admission left it in the transaction; what a pipeline answers pgbench cannot name
    merchant, idempotency = "current_setting('postbox.merchant_id')::uuid", "'bench ' || :key::text"
    payment = {
        "merchant_id": merchant, "livemode": "false", "provider": "'stripe'", "account": "'default'", "amount": "1000",
        "currency": "'usd'", "method": "'card'", "method_token": "'pm_card_visa'", "capture_method": "'automatic'",
        "return_url": "'https://shop.example/back'", "reference": "'order ' || :key::text",
        "description": "'Two chairs'", "statement_descriptor": "null", "metadata": """'{"basket": "1"}'::jsonb""",
    }  # fmt: skip
    admit = {
        "key_id": literal(key.id), "address": "'127.0.0.1'", "key": idempotency,
        "fingerprint": "decode(repeat('ab', 32), 'hex')",
    }  # fmt: skip
    answer = f"convert_to(repeat('x', {ANSWER_BYTES}), 'UTF8')"
    return "\n".join(
        [
            "\\set key random(1, 9000000000000000000)",
            "\\startpipeline",
            acting("transactions.begin_as", api) + ";",
            statement("rate_limits.take", **token) + ";",
            "commit;",
            "\\endpipeline",
            "\\startpipeline",
            acting("transactions.begin_as", api) + ";",
            statement("idempotency_keys.admit", **admit) + ";",
            "\\endpipeline",
            statement("payments.create", **payment) + " \\gset p_",
            "\\startpipeline",
            statement("idempotency_keys.keep", merchant_id=merchant, key=idempotency, status="201", body=answer) + ";",
            "commit;",
            "\\endpipeline",
        ]
    )
