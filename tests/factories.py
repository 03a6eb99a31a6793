"""Makes rows the way the product makes them: by the right actor under the right role, through legal steps only.

Every function takes an open connection with dict rows, as a login that may SET ROLE, and works in its transaction,
or in one of its own when there is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from app.config import PLATFORM_MERCHANT_ID
from app.model.actor import Actor, ActorType, Role
from app.model.api_key import ApiKey, new_key
from app.model.operation import (
    FIRST_STEP,
    Kind,
    attempt_key,
    cancel_params,
    capture_params,
    our_metadata,
    params_sha256,
    submit_params,
)

Connection = psycopg.Connection[dict[str, Any]]
Row = dict[str, Any]

PEPPER = "pepper-of-the-tests"
OPERATOR = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)
MAKER, CHECKER = "maker", "checker"
AMOUNT = 1_000
CURRENCY = "usd"
RETURN_URL = "https://shop.example/back"

# The role under which an actor type usually writes.
ROLE_OF = {
    "api": "postbox_api",
    "worker": "postbox_worker",
    "webhook": "postbox_worker",
    "reconciler": "postbox_worker",
    "operator": "postbox_operator",
    "system": "postbox_owner",
}

_SETTINGS = (
    "role", "postbox.actor_type", "postbox.actor_id", "postbox.on_behalf_of", "postbox.merchant_id",
    "postbox.reason", "postbox.request_id", "postbox.correlation_id", "postbox.causation_id", "postbox.session",
)  # fmt: skip


# -- who acts ---------------------------------------------------------------------------------------------------


@contextmanager
def acting(
    conn: Connection, actor_type: str, *, role: str | None = None, actor_id: str | None = None, **more: str
) -> Iterator[None]:
    """Run the block in a transaction under this actor and its role, and put back what was set before.

    `more`: merchant_id, on_behalf_of, reason, request_id, correlation_id, causation_id, session.
    """
    with conn.transaction():
        before = _settings(conn)
        act(conn, actor_type, role=role, actor_id=actor_id, **more)
        yield
        _set(conn, before)


def act(
    conn: Connection, actor_type: str, *, role: str | None = None, actor_id: str | None = None, **more: str
) -> None:
    """From here to the end of the open transaction: this actor under this role."""
    wanted = dict.fromkeys(_SETTINGS, "")
    wanted["role"] = role or ROLE_OF[actor_type]
    wanted["postbox.actor_type"] = actor_type
    wanted["postbox.actor_id"] = f"{actor_type}-1" if actor_id is None else actor_id
    wanted |= {f"postbox.{name}": value for name, value in more.items()}
    _set(conn, wanted)


@contextmanager
def signed_in(conn: Connection, name: str, *, role: str = "admin", **more: str) -> Iterator[None]:
    """Run the block as this person, who is enrolled under this role, and signed in from here on."""
    with acting(conn, "operator", actor_id=name, session=session_of(conn, name, role), **more):
        yield


def session_of(conn: Connection, name: str, role: str = "admin") -> str:
    """What proves that this person, enrolled under this role unless they were before, is signed in."""
    proof = sha256(name.encode()).digest()
    with acting(conn, "operator", role="postbox_owner"):
        conn.execute("insert into operators (name, role) values (%s, %s) on conflict do nothing", [name, role])
        conn.execute(
            "insert into operator_sessions (token_hmac, operator_id) select %s, id from operators where name = %s"
            " on conflict do nothing",
            [proof, name],
        )
    return proof.hex()


def _settings(conn: Connection) -> Mapping[str, str]:
    columns = sql.SQL(", ").join(
        sql.SQL("coalesce(current_setting({0}, true), '') as {1}").format(sql.Literal(name), sql.Identifier(name))
        for name in _SETTINGS
    )
    row = conn.execute(sql.SQL("select {}").format(columns)).fetchone()
    assert row is not None
    return row


def _set(conn: Connection, values: Mapping[str, str]) -> None:
    calls = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in values.items()
    )
    conn.execute(sql.SQL("select {}").format(calls))


# -- tenants ----------------------------------------------------------------------------------------------------


def merchant(conn: Connection, name: str = "Chairs and Co") -> Row:
    """A merchant, created by an operator."""
    with acting(conn, "operator"):
        return _insert(conn, "merchants", {"name": name})


def api_key(conn: Connection, merchant_id: uuid.UUID | str, *, pepper: str = PEPPER, **columns: Any) -> ApiKey:
    """A usable key of the merchant; the row holds only its HMAC, the returned key its text."""
    key = new_key(livemode=False)
    row = {"merchant_id": merchant_id, "id": key.id, "secret_hmac": key.hmac(pepper), "label": "test"}
    with acting(conn, "operator"):
        _insert(conn, "api_keys", row | {"livemode": key.livemode} | columns)
    return key


# -- payments ---------------------------------------------------------------------------------------------------


def payment(
    conn: Connection, state: str = "initiated", *, merchant_id: uuid.UUID | str | None = None, **row: Any
) -> Row:
    """A payment in `state`, taken there by the shortest usual way; `row` gives columns of the INSERT.

    A payment that is disputed, refunded, charged back or returned was confirmed and never settled; `settled=True`
    takes it through settled first. `confirmed=False` returns a bank debit that was only submitted.
    """
    settled, confirmed = row.pop("settled", False), row.pop("confirmed", True)
    if state == "returned":
        row.setdefault("method", "us_bank_account")
    if state == "authorized":
        row.setdefault("capture_method", "manual")
    p = initiated(conn, merchant_id or merchant(conn)["id"], **row)
    way = list(WAY[state])
    if settled:
        way.insert(way.index("confirmed") + 1, "settled")
    if not confirmed:
        way.remove("confirmed")
    for step in way:
        p = advance(conn, p, step)
    return p


def initiated(conn: Connection, merchant_id: uuid.UUID | str, **columns: Any) -> Row:
    """A payment as the API creates it."""
    row = {
        "merchant_id": merchant_id, "amount": AMOUNT, "currency": CURRENCY, "provider": "stripe",
        "provider_account": "default", "method": "card", "method_token": "pm_card_visa", "return_url": RETURN_URL,
    }  # fmt: skip
    with acting(conn, "api", merchant_id=str(merchant_id)):
        return _insert(conn, "payments", row | columns)


def advance(conn: Connection, p: Row, to: str, *, actor_type: str | None = None, **facts: Any) -> Row:
    """Take one legal step to state `to`, with the facts that usually come with it; returns the row as it is then.

    `facts` overrides or adds columns; the submit operation follows the payment.
    """
    actor = actor_type or ("operator" if p["state"] in ("failed", "canceled") else USUAL_ACTOR.get(to, "worker"))
    if actor == "operator" and to == "confirmed":
        agree_to_adopt(conn, p)
    with acting(conn, actor, merchant_id=str(p["merchant_id"])):
        changed = update_payment(conn, p, state=to, **(facts_of(p, to) | facts))
    with acting(conn, "worker", merchant_id=str(p["merchant_id"])):
        _follow(conn, changed)
    return changed


def proposed(conn: Connection, act: str, merchant_id: Any, parameters: Row, *, by: str = MAKER, **columns: Any) -> Row:
    """What an operator wants done that takes two people; whoever it is exists from here on."""
    row = {
        "merchant_id": merchant_id, "act": act, "parameters": Jsonb(parameters), "proposed_by": by, "reason": "test",
        "parameters_sha256": params_sha256(parameters), "expires_at": _soon(),
    }  # fmt: skip
    with signed_in(conn, by):
        return _insert(conn, "proposals", row | columns)


def agreed(conn: Connection, act: str, merchant_id: Any, parameters: Row, **columns: Any) -> Row:
    """A proposal of exactly this, made by one operator and approved by another; it is not carried out yet."""
    made = proposed(conn, act, merchant_id, parameters, by=MAKER, **columns)
    with signed_in(conn, CHECKER):
        conn.execute(
            "update proposals set status = 'approved', decided_by = %s, decision_reason = 'test' where id = %s",
            [CHECKER, made["id"]],
        )
    return made


def agree_to_adopt(conn: Connection, p: Row) -> Row:
    """Two operators agree that all of a payment was paid."""
    parameters = {"payment": str(p["id"]), "amount": p["amount"]}
    return agreed(conn, "adopt", p["merchant_id"], parameters, payment_id=p["id"])


def facts_of(p: Row, to: str) -> Row:
    """The columns that usually change together with the step to `to`, consistent with every CHECK."""
    if p["state"] in ("failed", "canceled"):
        return {"amount_captured": p["amount"]}  # adopting: all that an operator may write
    return FACTS[to](p) if to in FACTS else {}


def update_payment(conn: Connection, p: Row, **columns: Any) -> Row:
    """One plain UPDATE of the payment under whoever acts now."""
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in columns)
    statement = sql.SQL("update payments set {} where merchant_id = %(merchant_id)s and id = %(id)s returning *")
    row = conn.execute(statement.format(sets), columns | {"merchant_id": p["merchant_id"], "id": p["id"]}).fetchone()
    assert row is not None, "no such payment, or not visible to this role"
    return row


def provider_ref(p: Row) -> str:
    """The PaymentIntent that belongs to a payment, always the same one."""
    return f"pi_{uuid.UUID(str(p['id'])).hex}"


def _submitted(p: Row) -> Row:
    return {"provider_ref": provider_ref(p), "provider_rank": max(p["provider_rank"], 30), "observe_at": _soon()}


def _captured(p: Row) -> Row:
    return {"amount_captured": p["amount_captured"] or p["amount"]}


def _confirmed(p: Row) -> Row:
    return {
        "provider_ref": provider_ref(p), "latest_charge_ref": provider_ref(p).replace("pi_", "ch_"),
        "provider_rank": max(p["provider_rank"], 50),
        "observed_version": p["observed_version"] + 1,
        "amount_refunded": 0, "amount_disputed": 0, "amount_lost": 0, **_captured(p),
    }  # fmt: skip


def _soon() -> str:
    return "tomorrow"


FACTS: dict[str, Callable[[Row], Row]] = {
    "submitted": _submitted,
    "requires_action": lambda p: {
        "next_action_type": "redirect_to_url", "next_action_url": "https://bank.example/3ds",
        "action_expires_at": _soon(), "provider_rank": 20, "observed_version": p["observed_version"] + 1,
    },
    "authorized": lambda p: {
        "amount_authorized": p["amount"], "capture_before": _soon(), "provider_rank": 40,
        "observed_version": p["observed_version"] + 1,
    },
    "confirmed": _confirmed,
    "settled": lambda p: _confirmed(p),
    "disputed": lambda p: _captured(p) | {"amount_disputed": _captured(p)["amount_captured"], "amount_lost": 0},
    "refunded": lambda p: _confirmed(p) | {"amount_refunded": _captured(p)["amount_captured"]},
    "charged_back": lambda p: {"amount_disputed": 0, "amount_lost": p["amount_captured"]},
    "returned": lambda p: {"amount_disputed": 0, "amount_lost": p["amount_captured"]},
    "failed": lambda p: {"failure_code": "card_declined", "failure_message": "Declined.", "failure_retryable": True},
    "canceled": lambda p: {"cancel_reason": "requested"},
}  # fmt: skip

# Who usually takes the step to this state; any other is the worker's.
USUAL_ACTOR = {"canceled": "worker"}

_OPEN = ("submitting", "submitted")
WAY: dict[str, tuple[str, ...]] = {
    "initiated": (),
    "submitting": ("submitting",),
    "outcome_unknown": ("submitting", "outcome_unknown"),
    "submitted": _OPEN,
    "requires_action": (*_OPEN, "requires_action"),
    "authorized": (*_OPEN, "authorized"),
    "confirmed": (*_OPEN, "confirmed"),
    "settled": (*_OPEN, "confirmed", "settled"),
    "disputed": (*_OPEN, "confirmed", "disputed"),
    "refunded": (*_OPEN, "confirmed", "refunded"),
    "charged_back": (*_OPEN, "confirmed", "charged_back"),
    "returned": (*_OPEN, "confirmed", "returned"),
    "failed": (*_OPEN, "failed"),
    "canceled": (*_OPEN, "canceled"),
}


# -- refunds and disputes ---------------------------------------------------------------------------------------

# The way of a refund to each state; one that ended without the provider ever having it is not among them.
REFUND_WAY: dict[str, tuple[str, ...]] = {
    "requested": (),
    "submitting": ("submitting",),
    "outcome_unknown": ("submitting", "outcome_unknown"),
    "pending": ("pending",),
    "succeeded": ("pending", "succeeded"),
    "failed": ("pending", "failed"),
    "canceled": ("pending", "canceled"),
}
DISPUTE_WAY: dict[str, tuple[str, ...]] = {
    "inquiry": ("inquiry",),
    "open": ("open",),
    "won": ("open", "won"),
    "lost": ("open", "lost"),
    "closed": ("inquiry", "closed"),
}


def refund(conn: Connection, p: Row, state: str = "requested", **columns: Any) -> Row:
    """A refund of a payment in a state, made at the provider; `operation_id` makes it one that was asked of us."""
    asked = columns.get("operation_id") is not None
    row = {
        "merchant_id": p["merchant_id"], "payment_id": p["id"], "currency": p["currency"], "amount": p["amount"],
        "origin": "api" if asked else "provider", "provider": p["provider"], "provider_account": p["provider_account"],
    }  # fmt: skip
    with acting(conn, "api" if asked else "worker", merchant_id=str(p["merchant_id"])):
        r = _insert(conn, "refunds", row | columns)
    for to in REFUND_WAY[state]:
        r = advance_refund(conn, r, to)
    return r


def advance_refund(conn: Connection, r: Row, to: str, *, actor_type: str = "worker") -> Row:
    """One legal step of a refund with its facts."""
    facts = {"pending": {"provider_ref": f"re_{r['id'].hex}"}, "failed": {"failure_reason": "lost_or_stolen_card"}}
    with acting(conn, actor_type, merchant_id=str(r["merchant_id"])):
        return _update(conn, "refunds", r, {"state": to, **facts.get(to, {})})


def dispute(conn: Connection, p: Row, state: str = "open", **columns: Any) -> Row:
    """A dispute of a payment in a state, as the provider told it; it holds no money unless told so."""
    first, *way = DISPUTE_WAY[state]
    row = {
        "merchant_id": p["merchant_id"], "payment_id": p["id"], "state": first, "currency": p["currency"],
        "amount": p["amount"], "disputed_at": "now", "provider": p["provider"], "reason": "fraudulent",
        "provider_account": p["provider_account"], "provider_ref": f"du_{uuid.uuid4().hex}",
        "provider_status": "needs_response",
    }  # fmt: skip
    with acting(conn, "worker", merchant_id=str(p["merchant_id"])):
        d = _insert(conn, "disputes", row | columns)
        for to in way:
            d = _update(conn, "disputes", d, {"state": to})
    return d


# -- operations and evidence ------------------------------------------------------------------------------------


def operation(conn: Connection, p: Row, kind: str, *, actor_type: str | None = None, **columns: Any) -> Row:
    """A pending operation on a payment; submit and close are the worker's, the others somebody's request."""
    actor = actor_type or ("worker" if kind in ("submit", "close") else "api")
    identity = str(columns.pop("id", uuid.uuid4()))
    if kind == "capture":
        columns.setdefault("amount", p["amount_authorized"])
    if kind == "refund":
        columns.setdefault("amount", p["amount"])
    params = columns.pop("params", None) or _params(p, kind, identity, columns)
    row = {
        "merchant_id": p["merchant_id"], "id": identity, "payment_id": p["id"], "kind": kind,
        "step": FIRST_STEP[Kind(kind)], "params": Jsonb(params), "params_sha256": params_sha256(params),
    }  # fmt: skip
    with acting(conn, actor, merchant_id=str(p["merchant_id"])):
        return _insert(conn, "operations", row | columns)


def _params(p: Row, kind: str, identity: str, columns: Row) -> Row:
    """What the product would send."""
    if kind == "submit":
        return submit_params(p, identity)
    if kind == "capture":
        return capture_params(p, identity, amount=columns["amount"])
    if kind == "refund":
        return {"amount": columns["amount"], "metadata": our_metadata(p, identity)}
    return cancel_params(p, identity, reason=columns.get("reason") or "requested")


def provider_call(conn: Connection, op: Row, **columns: Any) -> Row:
    """An open call of an operation, as it is written down before it is sent."""
    step, attempt = op["step"], op["attempt"]
    row = {
        "merchant_id": op["merchant_id"], "payment_id": op["payment_id"], "operation_id": op["id"],
        "provider": "stripe", "account": "default", "step": step, "attempt": attempt, "method": "POST",
        "path": "/v1/payment_intents", "idempotency_key": attempt_key(str(op["id"]), step, attempt),
        "request": Jsonb(op["params"]), "request_sha256": op["params_sha256"],
    }  # fmt: skip
    with acting(conn, "worker", merchant_id=str(op["merchant_id"])):
        return _insert(conn, "provider_calls", row | columns)


def finish_call(conn: Connection, call: Row, outcome: str = "ok", **columns: Any) -> Row:
    """Complete an open call."""
    row = {"outcome": outcome, "http_status": 200, "duration_ms": 12, "response_sha256": "0" * 64} | columns
    with acting(conn, "worker", merchant_id=str(call["merchant_id"])):
        return _update(conn, "provider_calls", call, row | {"finished_at": "now"})


def webhook(conn: Connection, **columns: Any) -> Row:
    """A verified provider event, stored by the API under the platform until it is routed."""
    row = {
        "merchant_id": PLATFORM_MERCHANT_ID, "provider": "stripe", "account": "default",
        "provider_event_id": f"evt_{uuid.uuid4().hex}", "type": "payment_intent.succeeded", "object_id": "pi_1",
        "livemode": False, "created_at_provider": "now", "payload": Jsonb({"id": "evt_1"}), "body_sha256": "0" * 64,
    }  # fmt: skip
    row |= columns
    with acting(conn, "api", actor_id="stripe-webhook", merchant_id=str(row["merchant_id"])):
        return _insert(conn, "webhooks", row)


def _follow(conn: Connection, p: Row) -> None:
    """Keep the submit operation in step with its payment, as the worker does."""
    op = conn.execute(
        "select * from operations where merchant_id = %(merchant_id)s and payment_id = %(id)s and kind = 'submit'", p
    ).fetchone()
    if p["state"] == "submitting" and op is None:
        op = operation(conn, p, "submit")
    if op is None or op["finished_at"]:
        return
    elif p["state"] == "submitting":
        _update(conn, "operations", op, {
            "status": "in_flight", "lease_token": uuid.uuid4(), "lease_expires_at": "tomorrow",
        })  # fmt: skip
    elif p["state"] == "outcome_unknown":
        _update(conn, "operations", op, {"status": "unknown", "lease_token": None, "lease_expires_at": None})
    else:
        refused = p["state"] in ("failed", "canceled")
        _update(conn, "operations", op, {
            "status": "failed" if refused else "succeeded", "outcome": "refused" if refused else "ok",
            "finished_at": "now", "lease_token": None, "lease_expires_at": None,
        })  # fmt: skip


# -- rows -------------------------------------------------------------------------------------------------------


def _insert(conn: Connection, table: str, columns: Mapping[str, Any]) -> Row:
    statement = sql.SQL("insert into {} ({}) values ({}) returning *").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    row = conn.execute(statement, columns).fetchone()
    assert row is not None
    return row


def _update(conn: Connection, table: str, row: Row, columns: Mapping[str, Any]) -> Row:
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in columns)
    statement = sql.SQL("update {} set {} where merchant_id = %(merchant_id)s and id = %(id)s returning *")
    given = dict(columns) | {"merchant_id": row["merchant_id"], "id": row["id"]}
    changed = conn.execute(statement.format(sql.Identifier(table), sets), given).fetchone()
    assert changed is not None
    return changed
