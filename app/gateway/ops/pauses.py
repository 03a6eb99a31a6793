"""/ops/v1/pauses: what people stop by hand, and let go on; what is stopped is shown with the providers."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.db import Tx
from app.gateway.contract import problems
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.schemas import SetPause
from app.gateway.ops.showing import show
from app.model.operator_role import Right
from app.services import pauses
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_pauses", __name__, url_prefix="/ops/v1/pauses")


@blueprint.post("")
@blueprint.output(answers.SetPause, 201)
@problems("not_found")
@doing(Right.HANDLE)
@blueprint.input(SetPause)
def pause(tx: Tx, person: Person, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Stop a provider, a handler or a merchant; what waits behind it counts nothing."""
    row = pauses.pause(tx, json_data["kind"], json_data["name"], by=person.name, reason=json_data["reason"])
    return show(answers.SetPause, row), 201


@blueprint.post("/lift")
@blueprint.output(answers.LiftedPause)
@doing(Right.HANDLE)
@blueprint.input(SetPause)
def lift(tx: Tx, person: Person, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Let it go on: what waited is due now."""
    row = pauses.resume(tx, json_data["kind"], json_data["name"], reason=json_data["reason"])
    return show(answers.LiftedPause, row), 200
