"""What a caller wants told along with payments, `expand=refunds,disputes`: one query each, however many payments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.gateway import cursor as cursors
from app.gateway import disputes as dispute_views
from app.gateway import refunds as refund_views
from app.gateway import representation as shown
from app.model.scope import Scope
from app.services import disputes, refunds
from app.services.authentication import Caller, require
from app.services.listing import NEWEST


@dataclass(frozen=True)
class Children:
    """One name of `expand`: what it takes to see them, where they are found, how one is shown, whose list goes on."""

    scope: Scope
    find: Callable[[Tx, Caller, Sequence[UUID]], Mapping[UUID, list[Row]]]
    show: Callable[[Row], dict[str, Any]]
    cursor: str


CHILDREN = {
    "refunds": Children(Scope.REFUNDS_READ, refunds.newest_of, shown.refund, refund_views.CURSOR),
    "disputes": Children(Scope.DISPUTES_READ, disputes.newest_of, shown.dispute, dispute_views.CURSOR),
}


def payments(tx: Tx, caller: Caller, rows: Sequence[Row], names: Collection[str]) -> list[dict[str, Any]]:
    """The payments as they are shown, each with the children of these names. Raises ScopeMissing for their scope."""
    told = [shown.payment(row) for row in rows]
    for name, children in CHILDREN.items():
        if name not in names:
            continue
        require(caller, children.scope)
        found = children.find(tx, caller, [row["id"] for row in rows])
        for row, one in zip(rows, told, strict=True):
            one[name] = _listing(children, found[row["id"]])
    return told


def _listing(children: Children, rows: Sequence[Row]) -> dict[str, Any]:
    """The newest of them; with the cursor their own list, `?payment=`, goes on."""
    last = rows[-1] if len(rows) == NEWEST else None
    reached = cursors.after_child(children.cursor, last["created_at"], last["id"]) if last else None
    return shown.listing([children.show(row) for row in rows], next_cursor=reached)
