"""/ops/v1/proposals: what one person proposed and another decides."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway.contract import problems
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import ListProposals, Reasoned
from app.gateway.ops.showing import page, show, uuid_of
from app.model.operator_role import Right
from app.services import proposals
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_proposals", __name__, url_prefix="/ops/v1/proposals")


@blueprint.post("/<proposal_id>/approve")
@blueprint.output(answers.Proposal)
@problems("state_conflict", "same_person", "takes_two", "amount_refused")
@doing(Right.DECIDE)
@blueprint.input(Reasoned)
def approve(tx: Tx, person: Person, proposal_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Agree, and have it done: both or neither. Nobody approves what they proposed."""
    row = proposals.approve(tx, uuid_of(proposal_id), by=person.name, reason=json_data["reason"])
    return show(answers.Proposal, row), 200


@blueprint.post("/<proposal_id>/reject")
@blueprint.output(answers.Proposal)
@problems("state_conflict")
@doing(Right.DECIDE)
@blueprint.input(Reasoned)
def reject(tx: Tx, person: Person, proposal_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Disagree: it will not be done."""
    row = proposals.reject(tx, uuid_of(proposal_id), by=person.name, reason=json_data["reason"])
    return show(answers.Proposal, row), 200


@blueprint.get("")
@blueprint.output(answers.list_of(answers.Proposed))
@looking(Right.READ)
@blueprint.input(ListProposals, location="query", unknown=RAISE)
def find(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Proposals, newest first."""
    limit = query_data["limit"]
    before = row_position(query_data.get("cursor"), "proposals")
    rows = proposals.page(tx, only_open=query_data["open"], before=before, limit=limit)
    return page(answers.Proposed, "proposals", rows, at="proposed_at", by="id", limit=limit)
