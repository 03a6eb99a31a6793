"""From POST to confirmed and to settled, through gateway, worker, webhooks and a provider in its own process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from app.model.public_id import PAYMENT, parse
from tests import factories
from tests.bench import limits, pgbench
from tests.bench.arena import Arena, until
from tests.bench.deliver import OUR_WORKER, OURS, STOCK, STOCK_CONCURRENCY
from tests.bench.http import Answer, drive
from tests.bench.life import script_of_one_payment
from tests.bench.measure import Series, ratio, spending
from tests.bench.synchronous import SLOW_SECONDS, Synchronous, slow
from tests.bench.web import Web, free_port, serving
from tests.fixtures.database import KEY_PEPPER, Clone, Connection
from tests.fixtures.sandbox import Sandbox, running_sandbox

CLIENTS = 8
WARM_UP = 20
# The unmodified worker runs every queue, the clock's too.
E2E_WORKER_OF = {
    OURS: (OUR_WORKER, "on"),
    STOCK: (
        ("-m", "procrastinate", "--app=jobs.app.app", "worker", f"--concurrency={STOCK_CONCURRENCY}",
         "--delete-jobs=always"), "off",
    ),
}  # fmt: skip
# The sandbox makes money available so long after the capture; the days it takes at Stripe are not ours to measure.
AVAILABLE_AFTER = 1.0
# Latency is measured at this share of the throughput that the burst just showed: below it nothing queues.
PACE = 0.5
PATIENCE_SECONDS = 300.0

Times = dict[str, float]


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """A burst for the throughput, then the same number at half that rate for the latencies; by each worker in turn."""
    variants = {name: Variant(name) for name in (OURS, STOCK)}
    sql = Series("pgbench: the SQL of POST and submit, no provider", "payments/s")
    port = free_port()
    options = ("--available-after", str(AVAILABLE_AFTER), "--time-scale", str(arena.time_scale))
    ledger = arena.directory / "stripe"
    shutil.rmtree(ledger, ignore_errors=True)
    ledger.mkdir()
    before = Synchronous()
    ours_slow = Series(f"{OURS}: burst, {SLOW_SECONDS:g} s a call, confirmed", "payments/s")
    with (
        arena.database() as database,
        running_sandbox(ledger / "ledger.jsonl", *options) as sandbox,
        before.serving(arena, *options),
    ):
        conn = database.connect(admin=True)
        provider = {"STRIPE_API_BASE": sandbox.url}
        with serving(arena, database, port, **provider) as web, arena.database() as quiet:
            sandbox.send_webhooks_to(f"http://127.0.0.1:{port}/webhooks/stripe/default")
            for repeat in range(1, repeats + 1):
                for variant in variants.values():
                    argv, carrying = E2E_WORKER_OF[variant.name]
                    env = arena.environment(database, POSTBOX_CARRYING=carrying, **provider)
                    with arena.running(f"e2e-{variant.name}", *argv, env=env) as worker:
                        processes = {**web.processes(), "worker": worker.pid, "sandbox": sandbox.process.pid}
                        _send(web, conn, sandbox, count=min(payments, WARM_UP), rate=None)
                        with spending(arena.cluster, processes, payments, variant.confirmed, variant.settled):
                            burst = _send(web, conn, sandbox, count=payments, rate=None)
                        rate = variant.burst(conn, burst)
                        progress(f"repeat {repeat} of {repeats}: {variant.name} {rate:,.1f} confirmed/s")
                        with spending(arena.cluster, processes, payments, variant.to_confirmed, variant.to_settled):
                            times = _send(web, conn, sandbox, count=payments, rate=PACE * rate)
                        variant.paced(times, PACE * rate)
                        if variant.name == OURS:
                            with slow(sandbox), spending(arena.cluster, processes, payments, ours_slow):
                                late = _send(web, conn, sandbox, count=payments, rate=None)
                            ours_slow.add(_throughput(late, "payment.confirmed"))
                before.turn(arena, payments)
                progress(f"repeat {repeat} of {repeats}: synchronous {before.burst.rates[-1]:,.1f} confirmed/s")
                with spending(arena.cluster, {}, payments, sql):
                    sql.add(*_by_pgbench(arena, quiet, payments))
                progress(f"repeat {repeat} of {repeats}: pgbench {sql.rates[-1]:,.1f} payments/s")
            progress("checking every invariant")
            arena.check(quiet, quiesced=False)
        violations = arena.check(database)
        charged = sandbox.ledger()["summary"]["charged_twice"]
        assert not charged, f"charged twice: {charged}"
        # what a slow machine was late with was flagged and has closed by itself
        flagged = conn.execute("select type from discrepancies where closed_at is null").fetchall()
        assert not flagged, f"nothing went wrong, and yet: {flagged}"
    for one in (sql, before.burst, before.slow, ours_slow):
        one.count(payments=1, deliveries=1)
    ours, stock = variants[OURS], variants[STOCK]
    series = (*ours.series, ours_slow, *stock.series, before.burst, before.paced, before.slow, sql)
    return {
        "payments": payments,
        "variants": [one.summary() for one in series],
        "ratios": {
            "e2e_vs_stock": ratio(ours.confirmed, stock.confirmed), "e2e_vs_pgbench": ratio(ours.confirmed, sql),
            "e2e_vs_synchronous": ratio(ours.confirmed, before.burst),
            "e2e_vs_synchronous_slow": ratio(ours_slow, before.slow),
            "worker_mb": (worker_mb := max(megabytes for one in (*ours.series, ours_slow)
                                           for megabytes in one.samples["peak_mb of worker"])),
        },
        "limits": {"worker_mb": limits.by_imports(limits.WORKER, worker_mb)},
        "violations": violations,
        "note": f"e2e is the number that users feel: one worker, gunicorn, the sandbox and the clients share the"
        f" cores; money is available {AVAILABLE_AFTER:g} s after the capture and the clock looks every 5 s;"
        " pgbench calls nobody and stops at confirmed; synchronous is one request that does everything, its provider"
        " included, and no webhook, no settlement and no comparing of books afterwards",
    }  # fmt: skip


class Variant:
    """One kind of worker: what the burst showed, and what a payment waited at half of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.confirmed = Series(f"{name}: burst, confirmed", "payments/s")
        self.settled = Series(f"{name}: burst, settled", "payments/s")
        self.to_confirmed = Series(f"{name}: paced, POST to payment.confirmed", "payments/s offered")
        self.to_settled = Series(f"{name}: paced, POST to payment.settled", "payments/s offered")

    @property
    def series(self) -> tuple[Series, ...]:
        return self.confirmed, self.settled, self.to_confirmed, self.to_settled

    def burst(self, conn: Connection, times: list[Times]) -> float:
        for series, topic in ((self.confirmed, "payment.confirmed"), (self.settled, "payment.settled")):
            rate = _throughput(times, topic)
            series.add(rate)
            series.note("payments_per_second", rate)
            series.note("deliveries_per_second", rate * _deliveries_per_payment(conn))
        return self.confirmed.rates[-1]

    def paced(self, times: list[Times], rate: float) -> None:
        for series, topic in ((self.to_confirmed, "payment.confirmed"), (self.to_settled, "payment.settled")):
            series.paced(rate, [one["sent"] for one in times], [one[topic] - one["due"] for one in times])


def _deliveries_per_payment(conn: Connection) -> float:
    row = conn.execute(
        "select (select count(*) from deliveries where status = 'done')::float8 / (select count(*) from payments) as n"
    ).fetchone()
    assert row is not None
    return float(row["n"])


def _by_pgbench(arena: Arena, database: Clone, payments: int) -> tuple[float, list[float]]:
    """In a database of its own: no worker is to find what it leaves half done."""
    conn = database.connect(admin=True)
    key = factories.api_key(conn, factories.merchant(conn)["id"], pepper=KEY_PEPPER)
    script = script_of_one_payment(key)
    return pgbench.run(arena, database, script, clients=CLIENTS, transactions=payments, name="e2e", role="postbox_api")


def _send(web: Web, conn: Connection, sandbox: Sandbox, *, count: int, rate: float | None) -> list[Times]:
    """POST payments, wait until the last has settled and all is quiet; when each was due, was sent, and its events."""
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
    times: dict[str, Times] = {
        payment_id: {"sent": answer.sent_at, "due": answer.due_at} for payment_id, answer in sent.items()
    }
    for row in rows:
        times[row["payment_id"]][row["topic"]] = row["at"]
    assert all(len(one) == 4 for one in times.values()), "every payment was confirmed and settled"
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
