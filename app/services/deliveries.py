"""The truth about what is to be done: deliveries are claimed, finished, deferred, failed by conditional UPDATE."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass
from typing import Any

from app.config import Timing
from app.db import Tx
from app.db.errors import without_rows

# The third raised failure is a dead letter.
FAILURE_LIMIT = 3
# Waits between failures grow by this factor, each +-20 %.
BACKOFF_FACTOR = 4
BACKOFF_JITTER = 0.2
# A worker that dies is not a failure; twenty deaths on one delivery are.
RESCUE_LIMIT = 20
# What is kept of one failure: enough to see it, bounded whatever was raised.
MESSAGE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 16_000
# Put off at once when one is met that is paused: a backlog of 50,000 in fifty of its merchant's turns, each over in a
# tenth of a second.
PUT_OFF_AT_ONCE = 1_000
# The only provider of this release; a pause by provider stops the remote lane for it.
REMOTE_PROVIDER = "stripe"


@dataclass(frozen=True)
class DeliveryKey:
    merchant_id: str
    event_id: str
    handler: str

    def params(self) -> dict[str, str]:
        return {"merchant_id": self.merchant_id, "event_id": self.event_id, "handler": self.handler}


def claim(tx: Tx, key: DeliveryKey, job_id: int) -> dict[str, Any] | None:
    """The delivery and its event, if `job_id` is still its wake-up; None when it is done, dead or another's."""
    return tx.one("deliveries.claim", **key.params(), job_id=job_id, provider=REMOTE_PROVIDER)


def finish(tx: Tx, key: DeliveryKey) -> None:
    """Mark the delivery done, in the transaction of its effect."""
    tx.run("deliveries.finish", **key.params())


def defer(
    tx: Tx,
    key: DeliveryKey,
    job_id: int,
    *,
    seconds: float,
    why: str,
    timing: Timing,
    capped: bool = True,
    longest: float | None = None,
) -> None:
    """Wait uncounted for `seconds`, growing up to `longest`; past the cap of 24 h it is a dead letter.

    `capped=False`: an operator's pause, or a worker that ends; nobody may be at work for longer than that.
    """
    tx.run(
        "deliveries.defer",
        **key.params(),
        job_id=job_id,
        seconds=seconds,
        longest=seconds if longest is None else longest,
        why=why,
        cap=timing.deferral_cap,
        capped=capped,
    )


def put_off_paused(tx: Tx, merchant_id: str, oldest: int, timing: Timing) -> None:
    """Let the next local deliveries of a merchant that are paused wait without a job, ever longer; `oldest`: no job has
    a smaller number.

    Bounded: whoever meets the next one goes on.
    """
    tx.run(
        "deliveries.put_off_paused",
        merchant_id=merchant_id,
        oldest=oldest,
        limit=PUT_OFF_AT_ONCE,
        recheck=timing.pause_recheck,
        longest=timing.pause_longest,
    )


def bury(tx: Tx, key: DeliveryKey, *, reason: str) -> None:
    """A dead letter at once."""
    tx.run("deliveries.bury", **key.params(), reason=reason)


def fail(
    tx: Tx, key: DeliveryKey, job_id: int, error: BaseException, failures_before: int, timing: Timing
) -> str | None:
    """Count one raised failure and keep what was raised; returns the new status, None when the delivery moved on."""
    backoff = (
        timing.retry_first * BACKOFF_FACTOR**failures_before * random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
    )
    row = tx.one("deliveries.count_failure", **key.params(), job_id=job_id, backoff=backoff, limit=FAILURE_LIMIT)
    if row is None:
        return None
    failure = describe(error)
    tx.run(
        "deliveries.record_failure",
        **key.params(),
        error_class=failure.error_class,
        message=failure.message,
        traceback=failure.traceback,
    )
    return str(row["status"])


@dataclass(frozen=True)
class Failure:
    """What a person is told of a raised error, and may be logged: bounded, and without the contents of rows."""

    error_class: str
    message: str
    traceback: str


def describe(error: BaseException) -> Failure:
    """Class, message and traceback of what was raised."""
    return Failure(
        error_class=f"{type(error).__module__}.{type(error).__qualname__}",
        message=_printable(without_rows(str(error), error))[:MESSAGE_CHARACTERS],
        traceback=_printable(without_rows("".join(traceback.format_exception(error)), error))[-TRACEBACK_CHARACTERS:],
    )


def _printable(text: str) -> str:
    """PostgreSQL text holds no NUL."""
    return text.replace("\x00", "\\0")
