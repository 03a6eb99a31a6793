"""What nobody may do to a payment, whoever they are."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import sql

from tests import factories
from tests.factories import ROLE_OF, Connection, Row
from tests.sql.edges import ACTORS, STATES
from tests.sql.refusal import ACCEPTED, answer

OWNER = "postbox_owner"
COLUMNS = "merchant_id, amount, currency, provider, provider_account, method, method_token"
INSERT = f"insert into payments ({COLUMNS}, {{}}) values (%s, 1000, 'usd', 'stripe', 'default', 'card', 'pm_1', %s)"
MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"
RUNTIME = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance")


@pytest.fixture
def owner_may_be_anyone(conn: Connection) -> None:
    """So that only the trigger stands in the way, and not a missing grant."""
    conn.execute("insert into role_actors select 'postbox_owner', name from actor_types on conflict do nothing")


@pytest.mark.parametrize("state", [state for state in STATES if state != "initiated"])
def test_a_payment_begins_as_initiated(conn: Connection, owner_may_be_anyone: None, state: str) -> None:
    merchant_id = factories.merchant(conn)["id"]
    assert answer(conn, INSERT.format("state"), [merchant_id, state], actor="api", role=OWNER) == "PB001"


@pytest.mark.parametrize(
    "column, value",
    [
        ("provider_ref", "pi_1"), ("amount_authorized", 1), ("latest_charge_ref", "ch_1"), ("settled_at", "now"),
        ("money_after_final_at", "now"), ("amount_captured", 1), ("amount_refund_pending", 1), ("amount_refunded", 1),
        ("amount_disputed", 1), ("amount_lost", 1), ("submitted_at", "now"), ("confirmed_at", "now"),
        ("provider_rank", 50), ("observed_version", 7), ("capture_before", "now"), ("action_expires_at", "now"),
        ("failure_code", "x"), ("cancel_reason", "requested"), ("next_action_type", "x"), ("next_action_url", "x"),
        ("failure_message", "x"), ("failure_retryable", True), ("observe_at", "now"),
        ("return_window_ends_on", "today"), ("method_last4", "4242"),
    ],
)  # fmt: skip
def test_a_payment_begins_without_facts(conn: Connection, owner_may_be_anyone: None, column: str, value: Any) -> None:
    merchant_id = factories.merchant(conn)["id"]
    assert answer(conn, INSERT.format(column), [merchant_id, value], actor="api", role=OWNER) == "PB001"


@pytest.mark.parametrize("actor", [actor for actor in ACTORS if actor != "api"])
def test_only_the_api_creates_payments(conn: Connection, owner_may_be_anyone: None, actor: str) -> None:
    merchant_id = factories.merchant(conn)["id"]
    assert answer(conn, INSERT.format("reference"), [merchant_id, "r"], actor=actor, role=OWNER) == "PB002"
    assert answer(conn, INSERT.format("reference"), [merchant_id, "r"], actor="api", role=OWNER) == ACCEPTED


def test_a_payment_cannot_say_how_old_or_changed_it_is(conn: Connection, owner_may_be_anyone: None) -> None:
    merchant_id = factories.merchant(conn)["id"]
    p = factories.initiated(conn, merchant_id)
    with factories.acting(conn, "api", role=OWNER):
        row = conn.execute(
            INSERT.format("version, created_at").replace("%s)", "%s, '2001-01-01') returning *"), [merchant_id, 99]
        ).fetchone()
    assert row is not None
    assert (row["version"], row["created_at"] >= p["created_at"]) == (1, True)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("role", [OWNER, *RUNTIME])
def test_a_payment_is_never_deleted(conn: Connection, state: str, role: str) -> None:
    p = factories.payment(conn, state)
    refused = "PB004" if role == OWNER else "42501"
    assert answer(conn, "delete from postbox.payments" + MINE, p, role=role) == refused


GUARDED = (
    "payments", "operations", "provider_calls", "operation_attempts", "webhooks", "events", "deliveries",
    "delivery_failures", "audit_log",
)  # fmt: skip


@pytest.mark.parametrize("table", GUARDED)
def test_the_record_is_never_truncated(conn: Connection, table: str) -> None:
    assert answer(conn, f"truncate postbox.{table} cascade", actor="system") == "PB004"
    for role in RUNTIME:
        assert answer(conn, f"truncate postbox.{table} cascade", role=role) == "42501"


IMMUTABLE: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000000", "merchant_id": "00000000-0000-0000-0000-000000000000",
    "amount": 999, "currency": "eur", "provider": "ach", "provider_account": "other", "method": "ach",
    "method_token": "pm_other", "capture_method": "manual", "livemode": True, "created_at": "yesterday",
    "retry_of": "0198c0de-0000-7000-8000-000000000000",
}  # fmt: skip


@pytest.mark.parametrize("role", ["postbox_worker", OWNER])
@pytest.mark.parametrize("column", IMMUTABLE)
def test_what_a_payment_is_never_changes(conn: Connection, column: str, role: str) -> None:
    p = factories.payment(conn, "submitted")
    statement = f"update payments set {column} = %(value)s" + MINE
    actor = "worker" if role == "postbox_worker" else "system"
    assert answer(conn, statement, p | {"value": IMMUTABLE[column]}, actor=actor, role=role) == "PB004"


SET_ONCE: dict[str, Any] = {
    "provider_ref": "pi_other", "amount_authorized": 1, "submitted_at": "yesterday", "confirmed_at": "yesterday",
    "settled_at": "yesterday", "money_after_final_at": "yesterday", "method_last4": "0000",
}  # fmt: skip


def payment_with_every_fact(conn: Connection) -> Row:
    p = factories.payment(conn, "authorized")
    for state in ("confirmed", "settled"):
        p = factories.advance(conn, p, state)
    with factories.acting(conn, "worker"):
        return factories.update_payment(conn, p, money_after_final_at="now", method_last4="4242")


@pytest.mark.parametrize("column", SET_ONCE)
def test_a_fact_that_is_set_stays(conn: Connection, column: str) -> None:
    p = payment_with_every_fact(conn)
    assert p[column] is not None
    for value in (SET_ONCE[column], None):
        statement = f"update payments set {column} = %(value)s" + MINE
        assert answer(conn, statement, p | {"value": value}) == "PB004"


@pytest.mark.parametrize("missing", ["postbox.actor_type", "postbox.actor_id"])
@pytest.mark.parametrize("role", [OWNER, "postbox_api", "postbox_worker", "postbox_operator"])
def test_nothing_moves_without_an_actor(conn: Connection, role: str, missing: str) -> None:
    p = factories.payment(conn, "initiated")
    statement = sql.SQL("set local {} = ''; update payments set state = 'canceled'").format(sql.SQL(missing))
    merchant_id = str(p["merchant_id"])
    assert answer(conn, statement.as_string(conn), actor="api", role=role, merchant_id=merchant_id) == "PB003"


def test_a_session_that_never_named_an_actor_is_refused(database: Any) -> None:
    with database.connect() as conn:
        factories.payment(conn)
    with database.connect(admin=True) as fresh, pytest.raises(factories.psycopg.Error) as refused:
        fresh.execute("update payments set state = 'canceled'")
    assert refused.value.sqlstate == "PB003"


def test_a_superuser_who_plays_no_role_is_refused(conn: Connection) -> None:
    factories.payment(conn)
    assert answer(conn, "update payments set description = 'x'", actor="operator", role="none") == "PB002"


def test_an_operator_is_a_reconciler_only_on_behalf_of_somebody(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    cancel = "update payments set state = 'canceled', cancel_reason = 'operator'" + MINE
    assert answer(conn, cancel, p, actor="reconciler", role="postbox_operator") == "PB002"
    with factories.acting(conn, "reconciler", role="postbox_operator", on_behalf_of="alice"):
        assert factories.update_payment(conn, p, state="canceled", cancel_reason="operator")["state"] == "canceled"


@pytest.mark.parametrize("statement", ["update payments set state = 'settled'", "delete from payments"])
def test_replica_mode_switches_no_guard_off(conn: Connection, statement: str) -> None:
    factories.payment(conn, "initiated")
    conn.execute("set local session_replication_role = replica")
    refused = "PB004" if statement.startswith("delete") else "PB001"
    assert answer(conn, statement, actor="system") == refused


@pytest.mark.parametrize("role", RUNTIME)
def test_replica_mode_is_not_for_runtime_roles(conn: Connection, role: str) -> None:
    assert answer(conn, "set local session_replication_role = replica", role=role) == "42501"


def test_every_update_raises_the_version_by_one(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    for expected in range(p["version"] + 1, p["version"] + 4):
        with factories.acting(conn, "worker"):
            assert factories.update_payment(conn, p, version=1, description="again")["version"] == expected


def test_leaving_requires_action_forgets_what_the_payer_was_asked(conn: Connection) -> None:
    p = factories.advance(conn, factories.payment(conn, "requires_action"), "submitted")
    assert (p["next_action_type"], p["next_action_url"], p["action_expires_at"]) == (None, None, None)


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_adoption_clears_why_a_payment_had_ended(conn: Connection, state: str) -> None:
    p = factories.advance(conn, factories.payment(conn, state), "confirmed")
    assert (p["failure_code"], p["failure_message"], p["failure_retryable"], p["cancel_reason"]) == (None,) * 4
    assert p["confirmed_at"] is not None


def test_the_roles_of_the_factories_are_those_of_the_table(conn: Connection) -> None:
    rows = {(r["role"], r["actor_type"]) for r in conn.execute("select role, actor_type from role_actors")}
    assert {(role, actor) for actor, role in ROLE_OF.items()} <= rows
