"""/ops/v1/dead-letters: deliveries that wait for a person."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.db.pool import Row
from app.gateway.answers import beside
from app.gateway.context import gateway
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import ListDeadLetters, Reasoned
from app.gateway.ops.showing import page, show, shown
from app.model.operator_role import Right
from app.services import dead_letters, proposals
from app.services.dead_letters import Filter
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_dead_letters", __name__, url_prefix="/ops/v1/dead-letters")


@blueprint.get("")
@blueprint.output(answers.list_of(answers.DeadLetter))
@looking(Right.READ)
@blueprint.input(ListDeadLetters, location="query", unknown=RAISE)
def find(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Dead letters, oldest first; with `handled` also those that somebody dealt with."""
    after = row_position(query_data.get("cursor"), "dead-letters")
    limit = query_data["limit"]
    wanted = Filter(
        handler=query_data.get("handler"),
        merchant_id=query_data.get("merchant"),
        reason_class=query_data.get("reason_class"),
        handled=query_data["handled"],
        after=after,
    )
    rows = dead_letters.find(tx, wanted, limit=limit)
    return page(answers.DeadLetter, "dead-letters", rows, at="dead_at", by="event_id", limit=limit)


@blueprint.get("/<letter>")
@blueprint.output(answers.DeadLetterSheet)
@looking(Right.READ)
def sheet(tx: Tx, person: Person, letter: str) -> Shown:
    """One dead letter with every failure, and what a replay would do now: the dry run."""
    row = named(tx, letter, handled=True)
    more: Row = {
        "history": dead_letters.failures(tx, row),
        "replay": dead_letters.prospect(tx, row, gateway().settings.timing),
    }
    return shown(answers.DeadLetterSheet, row | more)


def named(tx: Tx, letter: str, *, handled: bool = False) -> Row:
    """The dead letter by its short name or event_id:handler. Raises NotFound, Invalid."""
    return dead_letters.find(tx, Filter(names=(letter.replace("\0", ""),), handled=handled), limit=2)[0]


@blueprint.post("/<letter>/replay")
@blueprint.output(answers.HandledLetter)
@doing(Right.HANDLE)
@blueprint.input(Reasoned)
def replay(tx: Tx, person: Person, letter: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Run one dead letter again; its effect still happens at most once. `GET` of it is the dry run."""
    row = named(tx, letter)
    done = dead_letters.replay(tx, row, by=person.name, reason=json_data["reason"])
    assert done, "the letter was just found"
    return show(answers.HandledLetter, row | {"done": "replayed"}), 200


@blueprint.post("/<letter>/discard")
@blueprint.output(answers.HandledLetter)
@blueprint.doc(responses=beside(202, answers.Proposal))
@doing(Right.PROPOSE)
@blueprint.input(Reasoned)
def discard(tx: Tx, person: Person, letter: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Leave one dead letter for good: at once what moves nothing (200), else as a proposal to another person (202)."""
    row, reason = named(tx, letter), json_data["reason"]
    if row["moves_money"]:
        timing = gateway().settings.timing
        made = proposals.propose_discard(tx, row, by=person.name, reason=reason, timing=timing)
        return show(answers.Proposal, made), 202
    done = dead_letters.discard(tx, row, by=person.name, reason=reason)
    assert done, "the letter was just found"
    return show(answers.HandledLetter, row | {"done": "discarded"}), 200
