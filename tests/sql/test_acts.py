"""What operators do is audited by trigger, so that plain SQL leaves the same entry as the command line."""

import pytest

from tests import factories
from tests.factories import Connection
from tests.sql.refusal import answer


def entries(conn: Connection, entity_type: str) -> list[tuple[str, str | None]]:
    rows = conn.execute(
        "select action, reason from audit_log where entity_type = %s order by id", [entity_type]
    ).fetchall()
    return [(row["action"], row["reason"]) for row in rows]


def dead_delivery(conn: Connection) -> dict:
    payment = factories.payment(conn)
    with factories.acting(conn, "worker"):
        return conn.execute(
            "update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures',"
            " job_id = null where payment_id = %(id)s returning merchant_id, event_id, handler",
            payment,
        ).fetchone()


def test_a_key_that_is_made_and_revoked_in_psql_leaves_two_entries_without_its_hash(conn: Connection) -> None:
    merchant = factories.merchant(conn)
    key = factories.api_key(conn, merchant["id"])
    with factories.acting(conn, "operator", reason="leaked"):
        conn.execute("update api_keys set revoked_at = clock_timestamp() where id = %s", [key.id])
    assert entries(conn, "merchant") == [("merchant.created", None)]
    assert entries(conn, "api_key") == [("api_key.created", None), ("api_key.revoked", "leaked")]
    assert conn.execute("select from audit_log where body like '%secret_hmac%'").fetchall() == []


def test_a_merchant_that_is_switched_off_says_what_was_before(conn: Connection) -> None:
    merchant = factories.merchant(conn)
    with factories.acting(conn, "operator"):
        conn.execute("update merchants set active = false where id = %(id)s", merchant)
    body = conn.execute("select body::jsonb as body from audit_log where action = 'merchant.changed'").fetchone()
    assert body == {"body": {"before": {"active": True}, "after": {"active": False}}}


def test_a_pause_that_is_set_and_lifted_in_psql_leaves_two_entries(conn: Connection) -> None:
    with factories.acting(conn, "operator", reason="maintenance"):
        conn.execute("insert into pauses (kind, name, reason, paused_by) values ('handler', 'h', 'r', 'ann')")
        conn.execute("delete from pauses")
    assert entries(conn, "handler") == [("pause.set", "maintenance"), ("pause.lifted", "maintenance")]


def test_a_dead_letter_is_replayed_or_discarded_by_an_operator_and_audited_either_way(conn: Connection) -> None:
    letter = dead_delivery(conn)
    factories.agreed(conn, "discard", letter["merchant_id"], {"letter": f"{letter['event_id']}:{letter['handler']}"})
    with factories.acting(conn, "operator"):
        conn.execute(
            "update deliveries set resolution = 'discarded', resolved_by = 'ann', resolved_at = clock_timestamp(),"
            " resolved_reason = 'twice' where event_id = %(event_id)s",
            letter,
        )
    assert entries(conn, "delivery") == [("dead_letter.discarded", "twice")]


@pytest.mark.parametrize("actor", ["worker", "reconciler"])
def test_nobody_but_an_operator_touches_a_dead_letter(conn: Connection, actor: str) -> None:
    letter = dead_delivery(conn)
    touch = "update deliveries set due_at = clock_timestamp() where event_id = %(event_id)s"
    assert answer(conn, touch, letter, actor=actor) == "PB002"


def test_a_dead_letter_cannot_be_armed_without_saying_that_it_is_a_replay(conn: Connection) -> None:
    letter = dead_delivery(conn)
    arm = "update deliveries set status = 'pending', dead_at = null, dead_reason = null where event_id = %(event_id)s"
    assert answer(conn, arm, letter, actor="operator") == "PB004"
    unsigned = arm.replace(" where", ", resolution = 'replayed' where")
    assert answer(conn, unsigned, letter, actor="operator") == "deliveries_resolution_is_whole"
