"""What may be intended with a payment is decided by the database, whichever role writes it, psql included."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from app.model.states import State
from tests import factories
from tests.factories import Connection, Row

STATES = [state.value for state in State]
# Who asks for what, and who decides the rest; the owner acts as the system and is bound like everybody.
ASKED, DECIDED = ("capture", "cancel", "refund"), ("submit", "close")
WRITERS = {"api": "postbox_api", "operator": "postbox_operator", "worker": "postbox_worker", "system": "postbox_owner"}
POSSIBLE_IN = {
    "submit": {"initiated", "submitting"},
    "capture": {"authorized"},
    "cancel": {"requires_action", "authorized"},
    "close": {"failed"},
}


def answer(conn: Connection, actor: str, p: Row, kind: str, **columns: Any) -> str:
    """Accepted, or the rule or SQLSTATE that refuses this operation; undone either way."""
    try:
        with conn.transaction(force_rollback=True):
            factories.operation(conn, p, kind, actor_type=actor, **columns)
    except psycopg.Error as error:
        return error.diag.constraint_name or error.sqlstate or "no sqlstate"
    return "accepted"


@pytest.mark.parametrize("actor", WRITERS)
@pytest.mark.parametrize("state", STATES)
def test_an_operation_is_possible_in_the_states_of_its_kind_and_in_no_other(
    conn: Connection, actor: str, state: str
) -> None:
    p = factories.payment(conn, state)
    for kind, states in POSSIBLE_IN.items():
        asked_by_a_person = actor in ("api", "operator")
        allowed = "PB002" if asked_by_a_person and kind in DECIDED else "accepted" if state in states else "PB001"
        if (allowed, state) == ("accepted", "submitting"):
            allowed = "operations_one_open_per_payment"
        assert answer(conn, actor, p | {"amount_authorized": p["amount"]}, kind) == allowed, (kind, state)


@pytest.mark.parametrize("actor", WRITERS)
def test_a_capture_takes_at_most_what_is_authorized(conn: Connection, actor: str) -> None:
    p = factories.payment(conn, "authorized")
    most = p["amount_authorized"]
    assert [answer(conn, actor, p, "capture", amount=amount) for amount in (1, most, most + 1)] == [
        "accepted", "accepted", "operations_capture_is_authorized",
    ]  # fmt: skip


@pytest.mark.parametrize("actor", WRITERS)
def test_a_capture_sends_the_amount_that_it_intends(conn: Connection, actor: str) -> None:
    p = factories.payment(conn, "authorized")
    for sent in (999, "600", None):
        params = {"amount_to_capture": sent, "currency": "usd"}
        assert answer(conn, actor, p, "capture", amount=600, params=params) == "operations_capture_sends_its_amount"
    assert answer(conn, actor, p, "capture", amount=600, params={"all": True}) == "operations_capture_sends_its_amount"


@pytest.mark.parametrize("actor", WRITERS)
@pytest.mark.parametrize("kind, amount", [("capture", None), ("refund", None), ("cancel", 600)])
def test_an_amount_is_given_for_what_takes_a_part_and_for_nothing_else(
    conn: Connection, actor: str, kind: str, amount: int | None
) -> None:
    p = factories.payment(conn, "authorized")
    params = {"amount_to_capture": amount}
    assert answer(conn, actor, p, kind, amount=amount, params=params) == (
        "operations_capture_sends_its_amount" if kind == "capture" else "operations_amount_iff_part_of_the_payment"
    )


@pytest.mark.parametrize("actor", WRITERS)
@pytest.mark.parametrize("kind", ASKED)
def test_an_operation_begins_with_the_first_step_of_its_kind(conn: Connection, actor: str, kind: str) -> None:
    p = factories.payment(conn, "authorized")
    for step in {"create", "confirm", "capture", "cancel", "close", "refund", "fetch", "x"} - {kind}:
        assert answer(conn, actor, p, kind, step=step) == "operations_begins_with_its_first_step", step


def test_a_submit_begins_with_creating_and_with_its_first_attempt(conn: Connection) -> None:
    p = factories.payment(conn)
    assert answer(conn, "worker", p, "submit", step="confirm") == "operations_begins_with_its_first_step"
    assert answer(conn, "worker", p, "submit", attempt=2) == "operations_begins_with_its_first_step"


def test_a_step_of_another_kind_is_never_gone_to(conn: Connection) -> None:
    p = factories.payment(conn, "authorized")
    op = factories.operation(conn, p, "cancel")
    with pytest.raises(psycopg.errors.CheckViolation) as refused, factories.acting(conn, "worker"):
        conn.execute("update operations set step = 'capture' where id = %(id)s", op)
    assert refused.value.diag.constraint_name == "operations_step_is_of_its_kind"


def test_nothing_is_told_of_another_merchants_payment(conn: Connection) -> None:
    """In a state that allows it and in one that does not, the answer is the same."""
    mine = factories.merchant(conn)["id"]
    told = set()
    for state in ("authorized", "confirmed"):
        theirs = factories.payment(conn, state)
        with pytest.raises(psycopg.Error) as refused, factories.acting(conn, "api", merchant_id=str(mine)):
            conn.execute(
                "insert into operations (merchant_id, payment_id, kind, step, params, params_sha256)"
                " values (%(merchant_id)s, %(id)s, 'cancel', 'cancel', '{}', 'x')",
                theirs,
            )
        told.add(refused.value.sqlstate)
    assert told == {"42501"}
