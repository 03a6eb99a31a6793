"""Dead deliveries as a person handles them: found, explained, replayed or discarded; nothing that lives is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.config import Timing
from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound, NothingToHandle

# Handlers that only ask the provider, and so move nothing however often they run.
ASKING = frozenset(
    {"apply_webhook", "observe_payment", "watch_settlement", "list_changes", "read_payout", "prove_balance"}
)


@dataclass(frozen=True)
class Filter:
    """Which dead letters; nothing set means all that nobody has handled. `names`: letters or event_id:handler."""

    names: tuple[str, ...] | None = None
    handler: str | None = None
    merchant_id: Any = None
    reason_class: str | None = None
    since: datetime | None = None
    handled: bool = False
    after: tuple[datetime, str] | None = None  # dead_at and event_id of the last one of the page before


def find(tx: Tx, wanted: Filter, *, limit: int) -> list[Row]:
    """Dead deliveries, oldest first. Raises NotFound when a name is given that names no dead letter."""
    rows = tx.all(
        "dead_letters.find",
        names=list(wanted.names) if wanted.names is not None else None,
        handler=wanted.handler,
        merchant_id=wanted.merchant_id,
        reason_class=wanted.reason_class,
        since=wanted.since,
        handled=wanted.handled,
        after_at=wanted.after[0] if wanted.after else None,
        after_id=wanted.after[1] if wanted.after else None,
        limit=limit,
    )
    for name in wanted.names or ():
        matches = [row for row in rows if name in (row["letter"], row["id"])]
        if len(matches) > 1:
            raise Invalid(f"{name} names {len(matches)} dead letters: use event_id:handler")
        if not matches:
            raise _why_not(tx, name)
    return rows


def _why_not(tx: Tx, name: str) -> NotFound:
    known = tx.one("dead_letters.named", name=name)
    if known is None:
        return NotFound(f"there is no dead letter {name}")
    handled = known["resolution"] or "never handled"
    return NothingToHandle(f"{name} is {known['status']} and was {handled}: nothing to do")


def failures(tx: Tx, letter: Row) -> list[Row]:
    """Every raised failure of a delivery, in order, also those before earlier replays."""
    return tx.all("dead_letters.failures", **_key(letter))


def prospect(tx: Tx, letter: Row, timing: Timing) -> Row:
    """What a replay would meet and do, decided from what is stored now; changes nothing.

    `provider_call`: none, ask (moves nothing), or send (with the key named). `asks_first`: the outcome of the last
    attempt is open, so the provider is asked before anything is sent that could move money.
    """
    row = tx.one("dead_letters.prospect", **_key(letter))
    assert row is not None, "the dead letter was just found"
    call, asks_first, effect = _effect(letter, row, timing)
    kept = ("payment_state", "operation_status", "step", "idempotency_key", "key_age")
    return {"provider_call": call, "asks_first": asks_first, "effect": effect} | {name: row[name] for name in kept}


def _effect(letter: Row, row: Row, timing: Timing) -> tuple[str, bool, str]:
    handler = letter["handler"]
    if letter["lane"] == "local":
        return "none", False, "works on the database only"
    if handler == "watch_settlement" and row["money_known"]:
        return "none", False, "the money line is known already"
    if handler in ASKING:
        return "ask", True, "fetches the object and applies what it says"
    if row["outcome"] is not None:
        return "none", False, f"the {row['kind']} is over ({row['outcome']})"
    if handler == "submit_payment" and row["operation_id"] is None:
        if row["payment_state"] == "initiated":
            return "send", False, "submits the payment: nothing was sent before"
        return "none", False, f"the payment is {row['payment_state']}"
    if handler == "close_intent" and row["operation_id"] is None:
        if row["payment_state"] != "failed" or row["provider_ref"] is None:
            return "none", False, "nothing is left open at the provider"
        return "send", False, "cancels what is left at the provider"
    return _going_on(row, timing)


def _going_on(row: Row, timing: Timing) -> tuple[str, bool, str]:
    """An operation without an outcome: as the driver goes on with it."""
    if row["operation_id"] is None:
        return "none", False, "there is no such operation"
    if row["n"] is None:
        return "send", False, f"sends {row['step']}: it was never sent before"
    fresh = row["key_age"] <= timing.key_reusable_for and not row["saved_error"]
    if row["operation_status"] == "pending" and fresh:
        return "send", False, f"sends {row['step']} with the key it has"
    if row["step"] == "create":
        how = "the same key" if fresh else "a further key: creating moves no money"
        return "send", False, f"sends create again with {how}"
    after = "the same key may follow" if fresh else "its key is used up, a further one needs the proof of that answer"
    return "ask", True, f"asks how {row['step']} ended; {after}"


def replay(tx: Tx, letter: Row, *, by: str, reason: str) -> bool:
    """Arm one dead delivery again: same event, same handler, due at once. False when it is not dead any more."""
    return tx.run("dead_letters.replay", **_key(letter), by=by, reason=reason) == 1


def discard(tx: Tx, letter: Row, *, by: str, reason: str) -> bool:
    """Leave one dead delivery dead for good. False when it is not dead any more.

    Raises TakesTwo for one that moves money, unless two people have agreed to it.
    """
    return tx.run("dead_letters.discard", **_key(letter), by=by, reason=reason) == 1


def _key(letter: Row) -> Row:
    return {name: letter[name] for name in ("merchant_id", "event_id", "handler")}
