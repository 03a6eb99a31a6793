"""Webhooks per second: signed events over HTTP, pgbench of the statements, and what Stripe waits at a pace."""

from __future__ import annotations

import hashlib
import hmac
import json
import statistics
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
# Each of gunicorn's two processes has half of the clients, and takes what has come from them in one transaction.
GROUPS, GROUPED = 2, CLIENTS // 2


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Distinct events by HTTP and by pgbench in turns into one database, and HTTP at a steady rate after each."""
    http = Series(f"HTTP POST {PATH}, {CLIENTS} keep-alive clients", "webhooks/s")
    sql = Series(f"pgbench: the SQL of one webhook, {CLIENTS} clients", "webhooks/s")
    grouped = Series(f"pgbench: {GROUPED} webhooks in a transaction, {GROUPS} clients", "webhooks/s")
    paced = Series(f"HTTP at {PACE:g}/s: the acknowledgement", "webhooks/s offered")
    with arena.database() as database, serving(arena, database, free_port()) as web:

        def by_http(requests: list[bytes], rate: float | None = None) -> list[Answer]:
            each = requests.__getitem__
            return drive(web.port, each, count=len(requests), clients=CLIENTS, rate=rate, expect=(200,))

        def by_pgbench(count: int, clients: int = CLIENTS, at_once: int = 1) -> tuple[float, list[float]]:
            script, transactions = script_of_webhooks(at_once), max(clients, count // at_once)
            rate, latencies = pgbench.run(
                arena, database, script, clients=clients, transactions=transactions, name="webhook", role="postbox_api"
            )
            return rate * at_once, latencies

        by_http(signed(warm_up := min(WARM_UP, payments)))
        by_pgbench(warm_up)
        by_pgbench(warm_up, GROUPS, GROUPED)
        analyze(database)
        for repeat in range(1, repeats + 1):
            requests = signed(payments)
            with spending(arena.cluster, web.processes(), payments, http):
                began = time.perf_counter()
                answers = by_http(requests)
                http.add(payments / (time.perf_counter() - began), [answer.seconds for answer in answers])
            with spending(arena.cluster, {}, payments, sql):
                sql.add(*by_pgbench(payments))
            with spending(arena.cluster, {}, payments, grouped):
                grouped.add(*by_pgbench(payments, GROUPS, GROUPED))
            requests = signed(count := min(payments, PACED))
            with (
                counting(arena.cluster, paced, count),
                spending(arena.cluster, web.processes(), count, paced),
            ):
                answers = by_http(requests, PACE)
            waited = [answer.waited for answer in answers]
            paced.paced(PACE, [answer.sent_at for answer in answers], waited)
            paced.note("p99_ms of a repeat", percentiles(waited)["p99_ms"])
            progress(
                f"repeat {repeat} of {repeats}: HTTP {http.rates[-1]:,.0f}, pgbench {sql.rates[-1]:,.0f} and"
                f" {grouped.rates[-1]:,.0f} webhooks/s, p99 {paced.samples['p99_ms of a repeat'][-1]:g} ms"
            )
        progress("checking every invariant")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [http.summary(), sql.summary(), grouped.summary(), paced.summary()],
        "ratios": {
            "webhook_vs_pgbench": ratio(http, sql),
            "webhook_vs_pgbench_grouped": ratio(http, grouped),
            "ack_p99_ms": round(statistics.median(paced.samples["p99_ms of a repeat"]), 1),
            "web_mb": max(http.samples["peak_mb"]),
        },
        "limits": {
            "webhook_vs_pgbench": limits.by_cpu(http, sql, promise("webhook_vs_pgbench").aim, "webhook"),
            "ack_p99_ms": f"{limits.by_load(paced, PACE, 'webhook')} By repeat, 99 of 100 waited"
            f" {', '.join(f'{each:g}' for each in paced.samples['p99_ms of a repeat'])} ms.",
            "web_mb": limits.by_imports(limits.WEB, max(http.samples["peak_mb"])),
        },
        "violations": violations,
        "note": "every event is new, signed, verified on its raw body and stored with its event, audit entry, delivery"
        " and job in one transaction; no worker runs; the requests are made and signed before the clock starts, as"
        " pgbench makes its own in C; both send begin, who acts, the events and commit as one round trip, pgbench for"
        f" each event (and once for {GROUPED}), the gateway for those that come together; ANALYZE runs once, after the"
        " warm-up. At a rate each waits from the moment at which its time had come, late or not; the p99 is the median"
        " of those of the repeats",
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


def script_of_webhooks(count: int) -> str:
    """One round trip that stores so many webhooks in one transaction."""
    api = {
        "role": "'postbox_api'", "statement_timeout": "'5000ms'", "lock_timeout": "'2000ms'",
        "idle_timeout": "'10000ms'", "actor_type": "'api'", "actor_id": "'webhook/stripe'",
    }  # fmt: skip
    event = (
        "select jsonb_agg(jsonb_build_object('provider_event_id', 'evt_' || n || '_' || :key::text,"
        " 'type', 'payment_intent.succeeded',"
        " 'object_id', 'pi_' || :key::text, 'payment_ref', 'pi_' || :key::text, 'api_version', '2026-10-28.endive',"
        " 'livemode', false, 'received_by', 'webhook', 'created_at_provider', now(),"
        " 'payload', jsonb_build_object('filler', repeat('x', 1000)),"
        " 'body_sha256', encode(sha256(convert_to(n || :key::text, 'UTF8')), 'hex'),"
        f" 'request_id', 'req_' || :key::text, 'trace_id', md5(:key::text))) from generate_series(1, {count}) n"
    )
    store = statement("webhooks.store", provider="'stripe'", account="'default'", events=f"({event})")
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
