"""The design before on the same work: how many a second one request confirms that does everything, and how soon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.arena import Arena
from tests.bench.http import drive
from tests.bench.measure import Series, spending
from tests.bench.web import Web, free_port, serving
from tests.fixtures.sandbox import Sandbox, running_sandbox

# As many threads as our own web processes have, which is what the design lives on: each waits for the provider.
SERVED = ("tests.bench.peers.synchronous:app", "--workers=2", "--threads=8", "--worker-class=gthread")
CLIENTS = 16
WARM_UP = 20
# As for the others: below what the burst showed nothing queues.
PACE = 0.5
# About what a card network takes; the sandbox answers at once, which is the best that can happen to this design.
SLOW_SECONDS = 0.3


@contextmanager
def slow(sandbox: Sandbox, seconds: float = SLOW_SECONDS) -> Iterator[None]:
    """Every call that changes something takes its time."""
    sandbox.fault(kind="slow", method="POST", count=None, seconds=seconds)
    try:
        yield
    finally:
        sandbox.control("DELETE", "faults")


class Synchronous:
    """Its own database without a subscription, its own sandbox without webhooks."""

    web: Web
    sandbox: Sandbox

    def __init__(self) -> None:
        self.burst = Series(f"synchronous: burst, confirmed, {CLIENTS} clients", "payments/s")
        self.slow = Series(f"synchronous: burst, {SLOW_SECONDS:g} s a call, confirmed", "payments/s")
        self.paced = Series("synchronous: paced, POST to its answer, confirmed", "payments/s offered")

    @contextmanager
    def serving(self, arena: Arena, *options: str) -> Iterator[None]:
        ledger = arena.directory / "synchronous-ledger.jsonl"
        ledger.unlink(missing_ok=True)
        with arena.database() as database, running_sandbox(ledger, *options) as sandbox:
            database.connect(admin=True).execute("delete from subscriptions")
            env = {"STRIPE_API_BASE": sandbox.url}
            with serving(arena, database, free_port(), name="synchronous", program=SERVED, **env) as web:
                self.web, self.sandbox = web, sandbox
                drive(web.port, web.request, count=WARM_UP, clients=CLIENTS)
                yield
            arena.check(database, quiesced=False)
            charged = sandbox.ledger()["summary"]["charged_twice"]
            assert not charged, f"charged twice: {charged}"

    def turn(self, arena: Arena, payments: int) -> None:
        """A burst, the same number at half its rate, and a burst with a provider that takes its time."""
        processes = {**self.web.processes(), "sandbox": self.sandbox.process.pid}
        with spending(arena.cluster, processes, payments, self.burst):
            began = time.perf_counter()
            drive(self.web.port, self.web.request, count=payments, clients=CLIENTS)
            self.burst.add(payments / (time.perf_counter() - began))
        rate = PACE * self.burst.rates[-1]
        with spending(arena.cluster, processes, payments, self.paced):
            answers = drive(self.web.port, self.web.request, count=payments, clients=CLIENTS, rate=rate)
        self.paced.paced(rate, [answer.sent_at for answer in answers], [answer.waited for answer in answers])
        with slow(self.sandbox), spending(arena.cluster, processes, payments, self.slow):
            began = time.perf_counter()
            drive(self.web.port, self.web.request, count=payments, clients=CLIENTS)
            self.slow.add(payments / (time.perf_counter() - began))
