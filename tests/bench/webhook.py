"""Webhooks per second: signed events over HTTP, pgbench of the statements of one, and what Stripe waits at a pace."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.bench import limits, pgbench
from tests.bench.arena import Arena, analyze
from tests.bench.counted import counting
from tests.bench.http import Answer, drive, post
from tests.bench.measure import Series, percentiles, ratio, spending
from tests.bench.promised import promise
from tests.bench.script import acting, statement
from tests.bench.web import free_port, serving
from tests.fixtures.database import WEBHOOK_SECRET

CLIENTS = 16
WARM_UP = 200
PATH = "/webhooks/stripe/default"
# The pace at which the acknowledgement is promised, and for how many.
PACE = 200.0
PACED = 2_000


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Distinct events by HTTP and by pgbench in turns into one database, and HTTP at a steady rate after each."""
    http = Series(f"HTTP POST {PATH}, {CLIENTS} keep-alive clients", "webhooks/s")
    sql = Series(f"pgbench: the SQL of one webhook, {CLIENTS} clients", "webhooks/s")
    paced = Series(f"HTTP at {PACE:g}/s: the acknowledgement", "webhooks/s offered")
    with arena.database() as database, serving(arena, database, free_port()) as web:

        def by_http(requests: list[bytes], rate: float | None = None) -> list[Answer]:
            each = requests.__getitem__
            return drive(web.port, each, count=len(requests), clients=CLIENTS, rate=rate, expect=(200,))

        def by_pgbench(count: int) -> tuple[float, list[float]]:
            script = script_of_one_webhook()
            return pgbench.run(
                arena, database, script, clients=CLIENTS, transactions=count, name="webhook", role="postbox_api"
            )

        by_http(signed(warm_up := min(WARM_UP, payments)))
        by_pgbench(warm_up)
        analyze(database)
        for repeat in range(1, repeats + 1):
            requests = signed(payments)
            with spending(arena.cluster, web.processes(), payments, http):
                began = time.perf_counter()
                answers = by_http(requests)
                http.add(payments / (time.perf_counter() - began), [answer.seconds for answer in answers])
            with spending(arena.cluster, {}, payments, sql):
                sql.add(*by_pgbench(payments))
            requests = signed(count := min(payments, PACED))
            with (
                counting(arena.cluster, paced, count),
                spending(arena.cluster, web.processes(), count, paced),
            ):
                answers = by_http(requests, PACE)
            paced.paced(PACE, [answer.sent_at for answer in answers], [answer.waited for answer in answers])
            progress(
                f"repeat {repeat} of {repeats}: HTTP {http.rates[-1]:,.0f}, pgbench {sql.rates[-1]:,.0f} webhooks/s"
            )
        progress("checking every invariant")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [http.summary(), sql.summary(), paced.summary()],
        "ratios": {
            "webhook_vs_pgbench": ratio(http, sql),
            "ack_p99_ms": percentiles(paced.latencies)["p99_ms"],
            "web_mb": max(http.samples["peak_mb"]),
        },
        "limits": {
            "webhook_vs_pgbench": limits.by_cpu(http, sql, promise("webhook_vs_pgbench").aim, "webhook"),
            "ack_p99_ms": limits.by_load(paced, PACE, "webhook"),
            "web_mb": limits.by_imports(limits.WEB, max(http.samples["peak_mb"])),
        },
        "violations": violations,
        "note": "every event is new, signed, verified on its raw body and stored with its event, audit entry, delivery"
        " and job in one transaction; no worker runs; the requests are made and signed before the clock starts, as"
        " pgbench makes its own in C; both send begin, who acts, the events and commit as one round trip, pgbench for"
        " each event, the gateway for those that come together; ANALYZE runs once, after the"
        " warm-up. At a rate each waits from the moment at which its time had come, late or not",
    }


def signed(count: int) -> list[bytes]:
    """So many events, made before the clock starts: Stripe signs on machines of its own."""
    return [request() for _ in range(count)]


def request() -> bytes:
    """One signed event of about the size of Stripe's, never seen before."""
    number = uuid.uuid4().hex
    event = {
        "id": f"evt_{number}", "object": "event", "type": "payment_intent.succeeded",
        "api_version": "2026-10-28.endive", "created": int(time.time()), "livemode": False, "data": {"object": {
            "id": f"pi_{number}", "object": "payment_intent", "status": "succeeded", "amount": 1000, "currency": "usd",
            "metadata": {"filler": "x" * 500}, "description": "x" * 500,
        }},
    }  # fmt: skip
    at = int(time.time())
    signature = hmac.new(WEBHOOK_SECRET.encode(), b"%d." % at + json.dumps(event).encode(), hashlib.sha256).hexdigest()
    return post(PATH, event, Stripe_Signature=f"t={at},v1={signature}")


def script_of_one_webhook() -> str:
    """What one webhook sends, in as many round trips."""
    api = {
        "role": "'postbox_api'", "statement_timeout": "'5000ms'", "lock_timeout": "'2000ms'",
        "idle_timeout": "'10000ms'", "actor_type": "'api'", "actor_id": "'webhook/stripe'",
    }  # fmt: skip
    event = (
        "jsonb_build_object('provider_event_id', 'evt_' || :key::text, 'type', 'payment_intent.succeeded',"
        " 'object_id', 'pi_' || :key::text, 'payment_ref', 'pi_' || :key::text, 'api_version', '2026-10-28.endive',"
        " 'livemode', false, 'received_by', 'webhook', 'created_at_provider', now(),"
        " 'payload', jsonb_build_object('filler', repeat('x', 1000)),"
        " 'body_sha256', encode(sha256(convert_to(:key::text, 'UTF8')), 'hex'),"
        " 'request_id', 'req_' || :key::text, 'trace_id', md5(:key::text))"
    )
    store = statement("webhooks.store", provider="'stripe'", account="'default'", events=f"jsonb_build_array({event})")
    return "\n".join(
        [
            "\\set key random(1, 9000000000000000000)",
            "\\startpipeline",
            acting("transactions.begin_as", api) + ";",
            store + ";",
            "commit;",
            "\\endpipeline",
        ]
    )
