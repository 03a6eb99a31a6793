"""reconciliation.changes_due: read the provider's events and money lines, and feed them to the same inbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.db import Tx
from app.model.actor import ActorType
from app.model.outcome import Ok
from app.providers.protocol import Step
from app.services import provider_book, webhooks
from jobs.ask_provider import Question, answer_questions, open_question
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    first = run.begin(lambda tx: claim_walk(run, tx))
    answer_questions(run, first, lambda tx, asked, told: record(run, tx, asked, told))


def claim_walk(run: Run, tx: Tx) -> Question | None:
    """The page this walk has come to: events first, so that what they explain is known when its money is read."""
    changes = _run_of(run, tx)
    position = changes["position"] or {"step": Step.LIST_EVENTS.value, "starting_after": None}
    position.setdefault("created_after", _read_from(run, changes))
    return _open(run, tx, position, number=1)


def record(run: Run, tx: Tx, question: Question, told: Ok) -> Question | None:
    provider = run.runtime.provider
    changes = _run_of(run, tx)
    found = {"events": 0, "lines": 0} | changes["found"]
    if question.request.step is Step.LIST_EVENTS:
        found["events"] += webhooks.store_polled(tx, told.events)
    else:
        found["lines"] += provider_book.store_lines(tx, provider.name, provider.account, told.lines)
    position = _following(question, told)
    if position is None:
        tx.run("reconciliation_runs.finish", **_names(run), found=found)
        if any(found.values()):
            provider_book.prove_again(tx, provider.name, provider.account, asked_by="poll", subject=str(changes["id"]))
        run.done(tx)
        return None
    tx.run("reconciliation_runs.move", **_names(run), position=position, found=found)
    return _open(run, tx, position, number=question.number + 1)


def _following(question: Question, told: Ok) -> dict[str, Any] | None:
    created_after = question.asked["created_after"]
    if told.next_page is not None:
        step = question.request.step.value
        return {"step": step, "starting_after": told.next_page, "created_after": created_after}
    if question.request.step is Step.LIST_EVENTS:
        return {"step": Step.LIST_LINES.value, "starting_after": None, "created_after": created_after}
    return None


def _open(run: Run, tx: Tx, position: dict[str, Any], *, number: int) -> Question | None:
    return open_question(
        run,
        tx,
        Step(position["step"]),
        number=number,
        created_after=position["created_after"],
        starting_after=position["starting_after"],
    )


def _read_from(run: Run, changes: dict[str, Any]) -> int:
    """Unix seconds: what was read completely before, and an overlap, because a list shows some things late."""
    timing = run.runtime.timing
    read_until: datetime | None = changes["read_until"]
    if read_until is None:
        return int(changes["requested_at"].astimezone(UTC).timestamp() - timing.events_kept)
    return int(read_until.astimezone(UTC).timestamp() - timing.changes_overlap)


def _names(run: Run) -> dict[str, Any]:
    return {"merchant_id": run.delivery["merchant_id"], "run_id": run.delivery["payload"]["run_id"]}


def _run_of(run: Run, tx: Tx) -> dict[str, Any]:
    row = tx.one("reconciliation_runs.get", **_names(run))
    assert row is not None, "the event names its run"
    return row


HANDLER = RemoteHandler("list_changes", handle, actor_type=ActorType.RECONCILER)
