"""Owns the list endpoints: which filters each kind has, and the page as Stripe shows it."""

import json
from typing import Any

from cli.sandbox.errors import StripeError, invalid, missing
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown, unpack

MAX_LIMIT, DEFAULT_LIMIT = 100, 10
PAGING = frozenset(("limit", "starting_after", "ending_before", "created", "expand", "types"))
# parameter -> field of the object
FILTERS: dict[str, dict[str, str]] = {
    "payment_intent": {},
    "charge": {"payment_intent": "payment_intent"},
    "refund": {"payment_intent": "payment_intent", "charge": "charge"},
    "dispute": {"payment_intent": "payment_intent", "charge": "charge"},
    "balance_transaction": {"source": "source", "type": "type", "payout": "_payout", "currency": "currency"},
    "payout": {"status": "status"},
    "event": {"type": "type"},
}
PATHS = {kind: f"/v1/{kind}s" for kind in FILTERS}


def list_objects(world: World, kind: str, params: dict[str, Any]) -> Row:
    """One page, newest first: `limit` 1-100, `created` bounds, cursors by id, the kind's own filters."""
    limit = params.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid(
            f"This value must be between 1 and {MAX_LIMIT} (it currently is '{limit}').",
            code="parameter_invalid_integer",
            param="limit",
        )
    for name in params:
        if name not in FILTERS[kind] and name not in PAGING:
            raise invalid(f"The Postbox sandbox does not serve the filter {name}.", param=name)
    table = world.tables[kind]
    for cursor in ("starting_after", "ending_before"):
        if cursor in params and table.get(params[cursor]) is None:
            raise missing(kind, params[cursor], cursor, status=400)
    if "starting_after" in params and "ending_before" in params:
        raise invalid("You can only pass one of starting_after and ending_before.", param="ending_before")
    where: dict[str, Any] = {field: params[name] for name, field in FILTERS[kind].items() if name in params}
    created = params.get("created", {})
    if not isinstance(created, dict):
        created = {"gte": created, "lte": created}
    if kind == "event":
        where = _topics(params)
    rows, more = table.page(where, created, limit, params.get("starting_after"), params.get("ending_before"))
    data = [render_event(row, world) if kind == "event" else shown(row) for row in rows]
    return {"object": "list", "data": data, "has_more": more, "url": PATHS[kind]}


def _topics(params: dict[str, Any]) -> dict[str, Any]:
    if "type" in params and "types" in params:
        raise invalid("You may only specify one of these parameters: type, types.", param="types")
    if "types" in params:
        names = frozenset(params["types"])
        return {"type": next(iter(names)) if len(names) == 1 else names}
    return {"type": params["type"]} if "type" in params else {}


def get_object(world: World, kind: str, ident: str) -> Row:
    """One object by id, or a 404 `resource_missing`."""
    row = world.get(kind, ident)
    if row is None:
        raise not_found(kind, ident)
    return render_event(row, world) if kind == "event" else shown(row)


def not_found(kind: str, ident: str) -> StripeError:
    return missing(kind, ident, {"payment_intent": "intent"}.get(kind, "id"))


def render_event(row: Row, world: World) -> Row:
    """The event as it was sent, with how many endpoints still wait for it."""
    event: Row = json.loads(unpack(row["text"]))
    event["pending_webhooks"] = len(world.undelivered.get(row["id"], ()))
    return event
