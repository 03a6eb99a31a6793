"""/ops/v1/discrepancies/{id}: somebody looks after it, or closes it for a reason; the list is with the figures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint

from app.db import Tx
from app.errors import NotFound
from app.gateway.contract import problems
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.schemas import Reasoned, Resolve
from app.gateway.ops.showing import show, uuid_of
from app.model.operator_role import Right
from app.services import discrepancies
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_discrepancies", __name__, url_prefix="/ops/v1/discrepancies")


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


def _named(text: str) -> UUID:
    found = uuid_of(text)
    if found is None:
        raise NotFound()
    return found
