"""/v1/disputes: show and list; the provider decides them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway import answers
from app.gateway import cursor as cursors
from app.gateway import representation as shown
from app.gateway.schemas import ListDisputes
from app.gateway.transaction import reading
from app.model.public_id import DISPUTE, PAYMENT, parse
from app.model.scope import Scope
from app.services import disputes
from app.services.authentication import Caller
from app.services.listing import Filter

blueprint = APIBlueprint("disputes", __name__, url_prefix="/v1/disputes")

# Keeps a cursor of this list from being used on another.
CURSOR = "d"
# What no payment is called: a list of its disputes is empty.
NOBODY = UUID(int=0)


@blueprint.get("/<dispute_id>")
@blueprint.doc(responses=answers.beside(200, answers.Dispute))
@reading(Scope.DISPUTES_READ)
def show(tx: Tx, caller: Caller, dispute_id: str) -> dict[str, Any]:
    """One dispute as it is now."""
    return shown.dispute(disputes.get(tx, caller, parse(DISPUTE, dispute_id)))


@blueprint.get("")
@blueprint.doc(responses=answers.beside(200, answers.Disputes))
@reading(Scope.DISPUTES_READ)
@blueprint.input(ListDisputes, location="query", unknown=RAISE)
def page(tx: Tx, caller: Caller, query_data: dict[str, Any]) -> dict[str, Any]:
    """Disputes, newest first; of one payment, if it is named."""
    before = cursors.child_position(CURSOR, query_data.pop("cursor", None))
    payment = query_data.pop("payment", None)
    payment_id = (parse(PAYMENT, payment) or NOBODY) if payment else None
    rows = disputes.page(tx, caller, Filter(before=before, payment_id=payment_id, **query_data))
    last = rows[-1] if len(rows) == query_data["limit"] else None
    return shown.listing(
        [shown.dispute(row) for row in rows],
        next_cursor=cursors.after_child(CURSOR, last["created_at"], last["id"]) if last else None,
    )
