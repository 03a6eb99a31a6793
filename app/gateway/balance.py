"""/v1/balance: what a merchant has, and the entries that made it so."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway import answers
from app.gateway import cursor as cursors
from app.gateway import representation as shown
from app.gateway.context import gateway
from app.gateway.contract import problems
from app.gateway.problems import WrongMode
from app.gateway.schemas import Page
from app.gateway.transaction import reading
from app.model.scope import Scope
from app.services import ledger
from app.services.authentication import Caller
from app.services.ledger import LinePosition

blueprint = APIBlueprint("balance", __name__, url_prefix="/v1/balance")


@blueprint.get("")
@blueprint.output(answers.Balance)
@problems("wrong_mode")
@reading(Scope.BALANCE_READ)
def show(tx: Tx, caller: Caller) -> dict[str, Any]:
    """Pending and available by currency; a negative amount is owed to us."""
    _refuse_other_mode(caller)
    return shown.balance(ledger.balance(tx, caller))


@blueprint.get("/entries")
@blueprint.output(answers.BalanceEntries)
@problems("wrong_mode")
@reading(Scope.BALANCE_READ)
@blueprint.input(Page, location="query", unknown=RAISE)
def entries(tx: Tx, caller: Caller, query_data: dict[str, Any]) -> dict[str, Any]:
    """What moved the balance, oldest first; the cursor of an empty page is the one that was sent."""
    _refuse_other_mode(caller)
    given = query_data.get("cursor")
    rows = ledger.feed(tx, caller, after=cursors.line_position(given), limit=query_data["limit"])
    last = rows[-1] if rows else None
    reached = given
    if last:
        reached = cursors.after_line(
            LinePosition(last["epoch"], int(last["recorded_xid"]), last["entry_id"], last["line"])
        )
    listing = shown.listing([shown.balance_entry(row) for row in rows], next_cursor=reached)
    return listing | {"has_more": len(rows) == query_data["limit"]}


def _refuse_other_mode(caller: Caller) -> None:
    """A deployment keeps the books of one mode; the other's key would see money that is not its own."""
    if caller.livemode != gateway().settings.livemode:
        raise WrongMode()
