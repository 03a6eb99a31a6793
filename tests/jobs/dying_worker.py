"""The real worker, killed with SIGKILL by itself at the point that DIE_AT names; `python -m tests.jobs.dying_worker`.

Nothing but the place of death is added: the worker is `jobs.worker.run`, the provider and the transactions are real.
With RESPAWN set it is supervised: a new process starts whenever one was killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

from app.config import Timing, load_settings
from app.db import Tx
from app.providers.protocol import Step
from app.providers.stripe import StripeProvider
from app.services import deliveries
from cli.dev.tether import PR_SET_PDEATHSIG
from jobs import worker
from jobs.drive import Driver
from jobs.handlers import HANDLERS, LocalHandler

# The local handler that dies of one payment, and how that payment is marked.
KILLED_HANDLER = "test_killed"
KILLER = "killer"
# What such a death leaves in the log: how many jobs a worker had fetched and not finished, at most. Those of workers
# that are forgotten already name none, and may be of several.
DEATH = "dies with {n} in hand"
FETCHED = """
    select max(n) as n
    from (
      select count(*) as n from procrastinate_jobs where status = 'doing' and worker_id is not null group by worker_id
    ) fetched
"""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_claim() -> None:
    claim = deliveries.claim

    def dying(tx: Any, key: deliveries.DeliveryKey, job_id: int) -> Any:
        if key.handler == "submit_payment":
            die()
        return claim(tx, key, job_id)

    deliveries.claim = dying


def _around_send(step: Step, *, sent: bool) -> None:
    send = StripeProvider.send

    def dying(self: StripeProvider, request: Any) -> Any:
        if request.step is step and not sent:
            die()
        reply = send(self, request)
        if request.step is step:
            die()
        return reply

    StripeProvider.send = dying  # type: ignore[method-assign]


def _around_record(*, committed: bool) -> None:
    send_and_record, record_and_end = Driver.send_and_record, Driver.record_and_end

    def dying_after(self: Driver, call: Any) -> Any:
        upcoming = send_and_record(self, call)
        if committed and call.request.step is Step.CONFIRM:
            die()
        return upcoming

    def dying_before(self: Driver, tx: Any, call: Any, reply: Any) -> Any:
        upcoming = record_and_end(self, tx, call, reply)
        if not committed and call.request.step is Step.CONFIRM:
            die()
        return upcoming

    Driver.send_and_record = dying_after  # type: ignore[method-assign]
    Driver.record_and_end = dying_before  # type: ignore[method-assign]


def register_killed_handler() -> None:
    """A local handler for tests: it dies of the payment whose reference is `killer`, and does nothing for others."""

    def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
        query = "select reference from payments where merchant_id = %(merchant_id)s and id = %(payment_id)s"
        row = tx.connection.execute(query, delivery).fetchone()
        if row is not None and row["reference"] == KILLER:
            fetched = tx.connection.execute(FETCHED).fetchone()
            assert fetched is not None, "an aggregate answers one row"
            os.write(2, f"{DEATH.format(**fetched)}\n".encode())
            die()

    HANDLERS[KILLED_HANDLER] = LocalHandler(KILLED_HANDLER, handle)


# The named crash points of submit, in the order in which a payment passes them.
POINTS: dict[str, Callable[[], None]] = {
    "before_claim": before_claim,
    "after_claim": lambda: _around_send(Step.CREATE, sent=False),
    "after_create": lambda: _around_send(Step.CREATE, sent=True),
    "after_ref_commit": lambda: _around_send(Step.CONFIRM, sent=False),
    "after_confirm": lambda: _around_send(Step.CONFIRM, sent=True),
    "before_record": lambda: _around_record(committed=False),
    "after_record": lambda: _around_record(committed=True),
}


def respawn() -> None:
    """Return in a child; the parent starts another child whenever one was killed."""
    parent = os.getpid()
    while True:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            return
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    point = os.environ.get("DIE_AT")
    if point == KILLED_HANDLER:
        register_killed_handler()
    elif point:
        POINTS[point]()
    if os.environ.get("RESPAWN"):
        respawn()
    worker.run(load_settings())
