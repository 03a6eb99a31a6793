"""/v1/refunds: show and list; one is asked for at its payment."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway import answers
from app.gateway import cursor as cursors
from app.gateway import representation as shown
from app.gateway.schemas import ListRefunds
from app.gateway.transaction import reading
from app.model.public_id import PAYMENT, REFUND, parse
from app.model.scope import Scope
from app.services import refunds
from app.services.authentication import Caller
from app.services.listing import Filter

blueprint = APIBlueprint("refunds", __name__, url_prefix="/v1/refunds")

# Keeps a cursor of this list from being used on another.
CURSOR = "r"
# What no payment is called: a list of its refunds is empty.
NOBODY = UUID(int=0)


@blueprint.get("/<refund_id>")
@blueprint.doc(responses=answers.beside(200, answers.Refund))
@reading(Scope.REFUNDS_READ)
def show(tx: Tx, caller: Caller, refund_id: str) -> dict[str, Any]:
    """One refund as it is now."""
    return shown.refund(refunds.get(tx, caller, parse(REFUND, refund_id)))


@blueprint.get("")
@blueprint.doc(responses=answers.beside(200, answers.Refunds))
@reading(Scope.REFUNDS_READ)
@blueprint.input(ListRefunds, location="query", unknown=RAISE)
def page(tx: Tx, caller: Caller, query_data: dict[str, Any]) -> dict[str, Any]:
    """Refunds, newest first; of one payment, if it is named."""
    before = cursors.child_position(CURSOR, query_data.pop("cursor", None))
    payment = query_data.pop("payment", None)
    payment_id = (parse(PAYMENT, payment) or NOBODY) if payment else None
    rows = refunds.page(tx, caller, Filter(before=before, payment_id=payment_id, **query_data))
    last = rows[-1] if len(rows) == query_data["limit"] else None
    return shown.listing(
        [shown.refund(row) for row in rows],
        next_cursor=cursors.after_child(CURSOR, last["created_at"], last["id"]) if last else None,
    )
