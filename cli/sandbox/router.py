"""Owns which endpoint serves a method and path; what an endpoint does is its object's business."""

from collections.abc import Callable
from typing import Any, NamedTuple

from cli.sandbox.lists import FILTERS, get_object, list_objects
from cli.sandbox.objects.account import render_account
from cli.sandbox.objects.balance import render_balance
from cli.sandbox.objects.disputes import close_dispute, update_dispute
from cli.sandbox.objects.payment_intents import cancel_intent, capture_intent, confirm_intent, create_intent
from cli.sandbox.objects.payouts import cancel_payout, create_payout
from cli.sandbox.objects.refunds import cancel_refund, create_refund, update_refund
from cli.sandbox.table import Row
from cli.sandbox.world import World

Serve = Callable[[World, str, dict[str, Any]], Row]


class Route(NamedTuple):
    """One endpoint: the name its parameters are listed under, its function, and the id in the path."""

    endpoint: str
    serve: Serve
    ident: str


def _lister(kind: str) -> Serve:
    return lambda world, _ident, params: list_objects(world, kind, params)


def _getter(kind: str) -> Serve:
    return lambda world, ident, _params: get_object(world, kind, ident)


SERVED: dict[str, Serve] = {
    "POST /v1/payment_intents": create_intent,
    "POST /v1/payment_intents/{id}/confirm": confirm_intent,
    "POST /v1/payment_intents/{id}/capture": capture_intent,
    "POST /v1/payment_intents/{id}/cancel": cancel_intent,
    "POST /v1/refunds": create_refund,
    "POST /v1/refunds/{id}": update_refund,
    "POST /v1/refunds/{id}/cancel": cancel_refund,
    "POST /v1/disputes/{id}": update_dispute,
    "POST /v1/disputes/{id}/close": close_dispute,
    "POST /v1/payouts": create_payout,
    "POST /v1/payouts/{id}/cancel": cancel_payout,
    "GET /v1/balance": render_balance,
    "GET /v1/account": render_account,
}
for _kind in FILTERS:
    SERVED[f"GET /v1/{_kind}s"] = _lister(_kind)
    SERVED[f"GET /v1/{_kind}s/{{id}}"] = _getter(_kind)


def route(method: str, path: str) -> Route | None:
    """The endpoint of a request, or None (Stripe's 404 `Unrecognized request URL`)."""
    parts = path.strip("/").split("/")
    ident = ""
    if len(parts) >= 3:
        ident, parts[2] = parts[2], "{id}"
    endpoint = f"{method} /{'/'.join(parts)}"
    serve = SERVED.get(endpoint)
    return Route(endpoint, serve, ident) if serve else None
