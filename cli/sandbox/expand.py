"""Owns `expand[]`: replacing ids by the objects they name (https://docs.stripe.com/api/expanding_objects)."""

from typing import Any

from cli.sandbox.errors import StripeError, invalid
from cli.sandbox.objects.payment_methods import METHODS, render_method
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

MAX_DEPTH = 4
EXPANDABLE: dict[str, dict[str, str]] = {
    "payment_intent": {"latest_charge": "charge", "payment_method": "payment_method"},
    "charge": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
        "refunds": "refunds",
    },
    "refund": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
        "charge": "charge",
        "payment_intent": "payment_intent",
        "payment_method": "payment_method",
    },
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "balance_transaction": {"source": "source"},
    "payout": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
    },
}
# What a balance transaction's source is, by the prefix of its id.
PREFIXES = {"ch": "charge", "py": "charge", "re": "refund", "pyr": "refund", "du": "dispute", "po": "payout"}


def check_paths(endpoint: str, paths: list[str]) -> None:
    """Refuse with a 400, before anything runs, a path that cannot be expanded; a list's start with `data.`."""
    verb, _, path = endpoint.partition(" /v1/")
    kind = path.split("/")[0].removesuffix("s")
    for full in paths:
        steps = full.split(".")
        if len(steps) > MAX_DEPTH:
            raise invalid(f"You cannot expand more than {MAX_DEPTH} levels of a property: {full}", param="expand")
        if verb == "GET" and "/" not in path and kind in EXPANDABLE and steps.pop(0) != "data":
            raise _cannot(full)
        at = kind
        for step in steps:
            at = "source" if at == "source" else EXPANDABLE.get(at, {}).get(step, "")
            if not at:
                raise _cannot(full)


def expand(world: World, answer: Row, paths: list[str]) -> Row:
    """The answer with every (checked) path expanded; what is null stays null."""
    for path in paths:
        steps = path.split(".")
        if answer.get("object") == "list":
            answer["data"] = [_walk(world, row, steps[1:]) for row in answer["data"]]
        else:
            answer = _walk(world, answer, steps)
    return answer


def _walk(world: World, row: Row, steps: list[str]) -> Row:
    if not steps:
        return row
    kind = EXPANDABLE.get(row["object"], {}).get(steps[0])
    if kind is None:
        return row
    row = dict(row)
    if kind == "refunds":
        row["refunds"] = _refunds(world, row["id"])
        return row
    value = row.get(steps[0])
    if value is None:
        return row
    found = value if isinstance(value, dict) else _find(world, kind, value, row["created"])
    if found is not None:
        row[steps[0]] = _walk(world, found, steps[1:])
    return row


def _find(world: World, kind: str, ident: str, created: int) -> Row | None:
    if kind == "payment_method":
        return render_method(METHODS[ident], created)
    if kind == "source":
        kind = PREFIXES[ident.split("_")[0]]
    found = world.get(kind, ident)
    return shown(found) if found else None


def _refunds(world: World, charge: str) -> Row:
    rows: list[Any] = [shown(row) for row in reversed(world.tables["refund"].all_by("charge", charge))]
    return {"object": "list", "data": rows, "has_more": False, "url": f"/v1/charges/{charge}/refunds"}


def _cannot(path: str) -> StripeError:
    return invalid(f"This property cannot be expanded ({path}).", param="expand")
