"""From POST to confirmed and to settled, through gateway, worker, webhooks and a provider in its own process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from app.model.public_id import PAYMENT, parse
from tests.bench.arena import Arena, check, until
from tests.bench.deliver import OUR_WORKER
from tests.bench.http import Answer, drive
from tests.bench.measure import Series
from tests.bench.web import Web, free_port, serving
from tests.fixtures.database import Connection
from tests.fixtures.sandbox import Sandbox, running_sandbox

CLIENTS = 8
WORKERS = 1
# The sandbox makes money available so long after the capture; the days it takes at Stripe are not ours to measure.
AVAILABLE_AFTER = 1.0
# Latency is measured at this share of the throughput that the burst just showed: below it nothing queues.
PACE = 0.5
PATIENCE_SECONDS = 300.0


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """A burst for the throughput, then the same number at half that rate for the latencies, `repeats` times."""
    confirmed = Series("burst: confirmed", "payments/s")
    settled = Series("burst: settled", "payments/s")
    to_confirmed = Series("paced: POST to payment.confirmed", "payments/s offered")
    to_settled = Series("paced: POST to payment.settled", "payments/s offered")
    port = free_port()
    options = ("--available-after", str(AVAILABLE_AFTER), "--time-scale", str(arena.time_scale))
    ledger = arena.directory / "stripe"
    shutil.rmtree(ledger, ignore_errors=True)
    ledger.mkdir()
    with arena.database() as database, running_sandbox(ledger / "ledger.jsonl", *options) as sandbox:
        conn = database.connect(admin=True)
        provider = {"STRIPE_API_BASE": sandbox.url}
        env = arena.environment(database, **provider)
        with serving(arena, database, port, **provider) as web, arena.running("worker", *OUR_WORKER, env=env):
            sandbox.send_webhooks_to(f"http://127.0.0.1:{port}/webhooks/stripe/default")
            _send(web, conn, sandbox, count=min(payments, 20), rate=None)
            for repeat in range(1, repeats + 1):
                burst = _send(web, conn, sandbox, count=payments, rate=None)
                confirmed.rates.append(_throughput(burst, "payment.confirmed"))
                settled.rates.append(_throughput(burst, "payment.settled"))
                rate = PACE * confirmed.rates[-1]
                progress(
                    f"repeat {repeat} of {repeats}: burst {confirmed.rates[-1]:,.1f} confirmed/s, now {rate:,.1f}/s"
                )
                paced = _send(web, conn, sandbox, count=payments, rate=rate)
                for series, topic in ((to_confirmed, "payment.confirmed"), (to_settled, "payment.settled")):
                    series.rates.append(rate)
                    series.latencies += [times[topic] - times["sent"] for times in paced]
            progress("checking every invariant")
        violations = check(database)
        charged = sandbox.ledger()["summary"]["charged_twice"]
        assert not charged, f"charged twice: {charged}"
    return {
        "payments": payments,
        "variants": [one.summary() for one in (confirmed, settled, to_confirmed, to_settled)],
        "ratios": {},
        "violations": violations,
        "note": f"e2e is the number that users feel: {WORKERS} worker, gunicorn, the sandbox and the clients share the"
        f" cores; money is available {AVAILABLE_AFTER:g} s after the capture and the clock looks every 5 s",
    }


Times = dict[str, float]


def _send(web: Web, conn: Connection, sandbox: Sandbox, *, count: int, rate: float | None) -> list[Times]:
    """POST payments, wait until the last has settled and all is quiet; when each was sent and each event occurred."""
    answers = drive(web.port, web.request, count=count, clients=CLIENTS, rate=rate)
    sent = {str(parse(PAYMENT, json.loads(answer.body)["id"])): answer for answer in answers}
    until(lambda: _is_quiet(conn, sandbox), "every payment to settle", seconds=PATIENCE_SECONDS, every=0.2)
    return _times(conn, sent)


def _times(conn: Connection, sent: dict[str, Answer]) -> list[Times]:
    rows = conn.execute(
        "select payment_id::text, topic, extract(epoch from occurred_at)::float8 as at from events"
        " where payment_id = any(%s::uuid[]) and topic in ('payment.confirmed', 'payment.settled')",
        [list(sent)],
    )
    times: dict[str, Times] = {payment_id: {"sent": answer.sent_at} for payment_id, answer in sent.items()}
    for row in rows:
        times[row["payment_id"]][row["topic"]] = row["at"]
    assert all(len(one) == 3 for one in times.values()), "every payment was confirmed and settled"
    return list(times.values())


def _is_quiet(conn: Connection, sandbox: Sandbox) -> bool:
    row = conn.execute(
        "select exists (select from payments where state not in ('settled', 'failed', 'canceled'))"
        " or exists (select from deliveries where status = 'pending') as busy"
    ).fetchone()
    if row is None or row["busy"]:
        return False
    webhooks = sandbox.control("GET", "webhooks")
    return not webhooks["queued"] and not webhooks["in_flight"]


def _throughput(times: list[Times], topic: str) -> float:
    return len(times) / (max(one[topic] for one in times) - min(one["sent"] for one in times))
