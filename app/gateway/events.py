"""/v1/events: the feed a merchant follows with a cursor."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway import answers
from app.gateway import cursor as cursors
from app.gateway import representation as shown
from app.gateway.schemas import ListEvents
from app.gateway.transaction import reading
from app.model.scope import Scope
from app.services import events
from app.services.authentication import Caller
from app.services.events import Position

blueprint = APIBlueprint("events", __name__, url_prefix="/v1/events")


@blueprint.get("")
@blueprint.output(answers.Events)
@reading(Scope.EVENTS_READ)
@blueprint.input(ListEvents, location="query", unknown=RAISE)
def feed(tx: Tx, caller: Caller, query_data: dict[str, Any]) -> dict[str, Any]:
    """Events, oldest first; the cursor of an empty page is the one that was sent, to ask again with."""
    given = query_data.get("cursor")
    rows = events.feed(
        tx, caller, after=cursors.event_position(given), topic=query_data.get("topic"), limit=query_data["limit"]
    )
    last = rows[-1] if rows else None
    reached = cursors.after_event(Position(last["epoch"], int(last["recorded_xid"]), last["id"])) if last else given
    listing = shown.listing([shown.event(row) for row in rows], next_cursor=reached)
    return listing | {"has_more": len(rows) == query_data["limit"]}
