"""/ops/v1/discrepancies/{id}: all about one; looked after, closed, written off by two; the list is with the figures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint

from app.db import Tx
from app.errors import NotFound
from app.gateway.answers import beside
from app.gateway.contract import problems
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import Reasoned, Resolve
from app.gateway.ops.showing import show, shown, uuid_of
from app.model.operator_role import Right
from app.services import discrepancies
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_discrepancies", __name__, url_prefix="/ops/v1/discrepancies")


@blueprint.get("/<discrepancy_id>")
@blueprint.output(answers.DiscrepancySheet)
@looking(Right.READ)
def sheet(tx: Tx, person: Person, discrepancy_id: str) -> Shown:
    """One discrepancy and everything that was done about it."""
    row = discrepancies.get(tx, _named(discrepancy_id))
    return shown(answers.DiscrepancySheet, row | {"history": discrepancies.history(tx, row)})


@blueprint.post("/<discrepancy_id>/acknowledge")
@blueprint.output(answers.HandledDiscrepancy)
@problems("state_conflict")
@doing(Right.HANDLE)
@blueprint.input(Reasoned)
def acknowledge(tx: Tx, person: Person, discrepancy_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Say that you look after it; it stays open."""
    row = discrepancies.acknowledge(tx, _named(discrepancy_id), by=person.name, note=json_data["reason"])
    return show(answers.HandledDiscrepancy, row), 200


@blueprint.post("/<discrepancy_id>/resolve")
@blueprint.output(answers.HandledDiscrepancy)
@problems("state_conflict")
@doing(Right.HANDLE)
@blueprint.input(Resolve)
def resolve(tx: Tx, person: Person, discrepancy_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Close it for a reason; it stays closed until its amounts change. A write-off is another thing, and takes two."""
    row = discrepancies.resolve(
        tx, _named(discrepancy_id), by=person.name, code=json_data["code"], note=json_data["reason"]
    )
    return show(answers.HandledDiscrepancy, row), 200


@blueprint.post("/<discrepancy_id>/write-off")
@blueprint.doc(responses=beside(202, answers.WriteOff))
@problems("state_conflict")
@doing(Right.PROPOSE)
@blueprint.input(Reasoned)
def write_off(tx: Tx, person: Person, discrepancy_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Ask for what clearing holds of it to be booked as a loss; another person approves that within a day."""
    row = discrepancies.ask_to_write_off(tx, _named(discrepancy_id), reason=json_data["reason"])
    return show(answers.WriteOff, row), 202


@blueprint.post("/<discrepancy_id>/write-off/approve")
@blueprint.output(answers.WriteOff)
@problems("state_conflict", "same_person")
@doing(Right.DECIDE)
@blueprint.input(Reasoned)
def approve(tx: Tx, person: Person, discrepancy_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Agree that it is a loss, and have it booked: both or neither. Nobody approves what they asked for."""
    row = discrepancies.approve_write_off(tx, _named(discrepancy_id), by=person.name, reason=json_data["reason"])
    return show(answers.WriteOff, row), 200


def _named(text: str) -> UUID:
    found = uuid_of(text)
    if found is None:
        raise NotFound()
    return found
