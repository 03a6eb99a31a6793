"""Every change of a payment, call, webhook and refusal leaves its entry, hashed over what is stored."""

from __future__ import annotations

import json

import psycopg
import pytest

from app.config import PLATFORM_MERCHANT_ID
from tests import factories
from tests.factories import Connection, Row
from tests.sql.refusal import ACCEPTED, answer


def entries(conn: Connection, entity_type: str, entity_id: object) -> list[Row]:
    return conn.execute(
        "select * from audit_log where entity_type = %s and entity_id = %s order by recorded_at, id",
        [entity_type, str(entity_id)],
    ).fetchall()


def test_a_payment_has_one_entry_per_version(conn: Connection) -> None:
    p = factories.payment(conn, "settled")
    found = entries(conn, "payment", p["id"])
    assert [e["payment_version"] for e in found] == list(range(1, p["version"] + 1))
    assert [e["action"] for e in found] == [
        "payment.created", "payment.submitting", "payment.submitted", "payment.confirmed", "payment.settled",
    ]  # fmt: skip


def test_an_update_without_a_step_is_audited_and_tells_nobody(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    before = conn.execute("select count(*) as n from events").fetchone()
    with factories.acting(conn, "worker", reason="looked", request_id="req_1", causation_id="evt_1"):
        factories.update_payment(conn, p, observed_version=7)
    last = entries(conn, "payment", p["id"])[-1]
    assert (last["action"], last["reason"], last["request_id"], last["causation_id"]) == (
        "payment.observed", "looked", "req_1", "evt_1",
    )  # fmt: skip
    assert json.loads(last["body"])["after"]["observed_version"] == 7
    assert last["correlation_id"] == str(p["id"])
    assert conn.execute("select count(*) as n from events").fetchone() == before


def test_an_entry_names_the_actor_and_the_role_behind_the_definer(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    with factories.acting(conn, "reconciler", role="postbox_operator", actor_id="resync", on_behalf_of="alice"):
        factories.update_payment(conn, p, observe_at="now")
    last = entries(conn, "payment", p["id"])[-1]
    assert (last["actor_type"], last["actor_id"], last["on_behalf_of"], last["db_role"]) == (
        "reconciler", "resync", "alice", "postbox_operator",
    )  # fmt: skip


def test_one_version_has_one_entry_for_ever(conn: Connection) -> None:
    p = factories.payment(conn)
    again = (
        "insert into audit_log select (jsonb_populate_record(a, jsonb_build_object('id', uuidv7()))).* from audit_log a"
    )
    refused = answer(conn, f"{again} where payment_id = %s", [p["id"]], actor="system")
    assert refused == "audit_log_one_entry_per_payment_version"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_every_entry_has_the_hash_of_its_stored_text_in_any_time_zone(conn: Connection, zone: str) -> None:
    factories.payment(conn, "settled")
    factories.webhook(conn)
    conn.execute(f"set local timezone = '{zone}'")
    row = conn.execute(
        "select count(*) filter (where row_sha256 = audit_row_sha256(a)) as good, count(*) as n from audit_log a"
    ).fetchone()
    assert row is not None
    assert row["good"] == row["n"] > 0


COLUMNS = [
    "epoch", "recorded_xid", "recorded_at", "actor_type", "actor_id", "on_behalf_of", "db_role", "reason", "action",
    "entity_type", "entity_id", "payment_id", "payment_version", "request_id", "correlation_id", "causation_id",
    "body", "payload_sha256", "id", "merchant_id",
]  # fmt: skip


def test_the_hash_covers_every_column(conn: Connection) -> None:
    row = conn.execute(
        "select array_agg(attname::text) as names from pg_attribute"
        " where attrelid = 'audit_log'::regclass and attnum > 0"
    ).fetchone()
    assert row is not None
    assert set(row["names"]) == {*COLUMNS, "row_sha256"}


@pytest.mark.parametrize("column", COLUMNS)
def test_another_value_in_any_column_is_another_hash(conn: Connection, column: str) -> None:
    p = factories.payment(conn)
    other = {
        "epoch": 99, "recorded_xid": "1", "recorded_at": "2001-01-01 00:00:00.000001+00", "payment_version": 99,
        "payment_id": PLATFORM_MERCHANT_ID, "id": PLATFORM_MERCHANT_ID, "merchant_id": PLATFORM_MERCHANT_ID,
    }.get(column, "forged")  # fmt: skip
    row = conn.execute(
        "select audit_row_sha256(jsonb_populate_record(a, jsonb_build_object(%s::text, %s::text))) = row_sha256 as same"
        " from audit_log a where payment_id = %s",
        [column, str(other), p["id"]],
    ).fetchone()
    assert row == {"same": False}


def test_a_call_has_an_entry_when_it_is_opened_and_one_when_it_ends(conn: Connection) -> None:
    call = open_call(conn)
    factories.finish_call(conn, call, response_sha256="1" * 64)
    found = entries(conn, "provider_call", call["id"])
    assert [(e["action"], e["payload_sha256"]) for e in found] == [
        ("provider_call.opened", call["request_sha256"]), ("provider_call.completed", "1" * 64),
    ]  # fmt: skip
    assert {e["payment_id"] for e in found} == {call["payment_id"]}


def open_call(conn: Connection) -> Row:
    p = factories.payment(conn, "submitting")
    op = conn.execute("select * from operations where payment_id = %s", [p["id"]]).fetchone()
    assert op is not None
    return factories.provider_call(conn, op)


def test_an_operation_has_an_entry_for_what_it_intends_and_how_it_ended(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    op = conn.execute("select * from operations where payment_id = %s", [p["id"]]).fetchone()
    assert op is not None
    assert [e["action"] for e in entries(conn, "operation", op["id"])] == ["operation.requested", "operation.succeeded"]


def test_a_stored_webhook_has_one_entry_and_one_event(conn: Connection) -> None:
    hook = factories.webhook(conn, body_sha256="2" * 64)
    assert [(e["action"], e["payload_sha256"]) for e in entries(conn, "webhook", hook["id"])] == [
        ("webhook.received", "2" * 64)
    ]
    events = conn.execute("select topic, causation_id from events where webhook_id = %s", [hook["id"]]).fetchall()
    assert events == [{"topic": "webhook.received", "causation_id": hook["provider_event_id"]}]


def test_a_webhook_is_stored_once(conn: Connection) -> None:
    hook = factories.webhook(conn)
    with pytest.raises(psycopg.errors.UniqueViolation) as refused, conn.transaction():
        factories.webhook(conn, provider_event_id=hook["provider_event_id"])
    assert refused.value.diag.constraint_name == "webhooks_stored_once"


REJECT = (
    "insert into webhook_rejections (merchant_id, provider, account, second, reason)"
    f" values ('{PLATFORM_MERCHANT_ID}', 'stripe', %s, %s, 'bad signature')"
    " on conflict (merchant_id, provider, account, second) do update set count = webhook_rejections.count + 1"
)


def test_strangers_leave_one_entry_per_account_and_second(conn: Connection) -> None:
    with factories.acting(conn, "api", merchant_id=PLATFORM_MERCHANT_ID):
        for second in ("2026-01-01 00:00:00+00", "2026-01-01 00:00:00+00", "2026-01-01 00:00:01+00"):
            conn.execute(REJECT, ["default", second])
    rows = conn.execute("select count from webhook_rejections order by second").fetchall()
    assert [row["count"] for row in rows] == [2, 1]
    audited = conn.execute("select count(*) as n from audit_log where action = 'webhook.refused'").fetchone()
    assert audited == {"n": 2}


def test_a_refusal_is_counted_by_the_whole_second(conn: Connection) -> None:
    refused = answer(
        conn, REJECT, ["default", "2026-01-01 00:00:00.5+00"], actor="api", merchant_id=PLATFORM_MERCHANT_ID
    )
    assert refused == "webhook_rejections_second_is_whole"


def test_a_refusal_belongs_to_an_account_that_exists(conn: Connection) -> None:
    """Or a stranger fills the audit by inventing accounts."""
    refused = answer(
        conn, REJECT, ["invented", "2026-01-01 00:00:00+00"], actor="api", merchant_id=PLATFORM_MERCHANT_ID
    )
    assert refused == "webhook_rejections_account_exists"


def test_a_stranger_s_object_is_recorded_with_its_reason(conn: Connection) -> None:
    p = factories.payment(conn)
    with factories.acting(conn, "operator", actor_id="alice"):
        conn.execute(
            "select record_act(%s, 'webhook.unrouted', 'provider_object', 'x', %s, '{}', 'fixed it')",
            [p["merchant_id"], p["id"]],
        )
    (entry,) = entries(conn, "provider_object", "x")
    assert (entry["actor_id"], entry["reason"], entry["payment_id"]) == ("alice", "fixed it", p["id"])


@pytest.mark.parametrize(
    "entity", ["payment", "operation", "provider_call", "webhook", "delivery", "api_key", "handler"]
)
def test_an_act_cannot_pass_for_a_change_that_has_its_own_trigger(conn: Connection, entity: str) -> None:
    statement = f"select postbox.record_act('{PLATFORM_MERCHANT_ID}', 'x', '{entity}', 'x', null, '{{}}', 'because')"
    assert answer(conn, statement, actor="operator") == "PB002"
    assert answer(conn, statement.replace(f"'{entity}'", "'provider_object'"), actor="operator") == ACCEPTED
