"""`postbox check` finds every way of damaging the books: one damage, one broken invariant, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.db.queries import QUERIES
from app.services.checks import INVARIANTS
from cli import session
from tests import factories
from tests.cli import story
from tests.cli.check_damages import CHILD_DAMAGES, DAMAGES, QUIESCED
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone
from tests.ledger import books


def damage(database: Clone, sql: str, names: dict[str, object]) -> None:
    """As a superuser, with triggers and foreign keys off; guards are ENABLE ALWAYS, so they are disabled one by one."""
    conn = database.connect(admin=True)
    conn.execute("set session_replication_role = replica")
    guarded = ("payments", "operations", "provider_calls", "operation_attempts", "webhooks", "refunds", "disputes")
    for table in (*guarded, "events", "deliveries", "audit_log"):
        conn.execute(f"alter table {table} disable trigger user")
    for statement in sql.split(";"):
        conn.execute(statement, names)


@pytest.fixture
def healthy(database: Clone) -> story.Story:
    return story.settled(database.connect(admin=True))


def cases() -> list[tuple[str, str]]:
    return [(name, sql) for name, statements in DAMAGES.items() for sql in statements]


@pytest.mark.parametrize("invariant, sql", cases(), ids=[f"{name}-{n}" for n, (name, _) in enumerate(cases())])
def test_each_damage_breaks_exactly_its_invariant(
    postbox: Postbox, database: Clone, healthy: story.Story, invariant: str, sql: str
) -> None:
    before = postbox("check", "--quiesced", "--json")
    assert (before.code, before.json["violations"]) == (0, [])
    damage(database, sql, healthy.names)
    after = postbox("check", "--json", *(["--quiesced"] if invariant in QUIESCED else []))
    assert after.code == 1
    assert {row["invariant"] for row in after.json["violations"]} == {invariant}


def child_cases() -> list[tuple[str, str]]:
    return [(name, sql) for name, statements in CHILD_DAMAGES.items() for sql in statements]


# What cannot be damaged alone: a changed sum is no longer what the audit tells, a forgotten entry leaves a rest.
COMES_WITH = {
    "states_follow_the_facts": {"events_tell_the_history"},
    "refunds_follow_their_operations": {"audit_tells_the_row", "refunds_in_flight_are_under_way"},
    "refunds_in_flight_are_under_way": {"clearing_is_zero"},
    "dispute_lines_are_booked": {"clearing_is_zero", "ledger_balances_are_their_lines"},
}


@pytest.mark.parametrize("invariant, sql", child_cases(), ids=[f"{n}-{i}" for i, (n, _) in enumerate(child_cases())])
def test_each_damage_to_a_refund_or_dispute_breaks_its_invariant(
    postbox: Postbox, database: Clone, invariant: str, sql: str
) -> None:
    names = story.refunded_and_disputed(database.connect(admin=True)).names
    before = postbox("check", "--quiesced", "--json")
    assert (before.code, before.json["violations"]) == (0, [])
    damage(database, sql, names)
    after = postbox("check", "--json")
    broken = {row["invariant"] for row in after.json["violations"]}
    assert after.code == 1 and invariant in broken
    assert broken - {invariant} <= COMES_WITH.get(invariant, set())


def test_it_takes_as_long_as_it_takes(postbox: Postbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TIMEOUTS", replace(session.TIMEOUTS, statement=1))
    assert postbox("check").out == f"{len(INVARIANTS)} invariants hold\n"


def test_every_invariant_has_a_query_and_a_damage() -> None:
    queries = {name.removeprefix("checks.") for name in QUERIES if name.startswith("checks.")}
    assert set(INVARIANTS) == queries == set(DAMAGES) | set(CHILD_DAMAGES)


def test_money_on_a_canceled_payment_is_shown_until_a_person_deals_with_it(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = factories.payment(conn, "canceled")
    assert "closed_payments_hold_no_money" not in postbox("check", "--json").out
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, money_after_final_at="now")
    found = postbox("check", "--json").json["violations"]
    assert [(v["invariant"], v["payment_id"]) for v in found] == [("closed_payments_hold_no_money", str(p["id"]))]


def test_every_state_that_legal_steps_reach_is_clean(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    for state in factories.WAY:
        factories.payment(conn, state)
    broken = {v["invariant"] for v in postbox("check", "--json").json["violations"]}
    assert broken <= {"settled_means_available", "children_add_up"}, "the factory needs no line and no refund"


def test_the_open_call_of_a_crash_is_legal_once_its_operation_was_called_again(
    postbox: Postbox, database: Clone, healthy: story.Story
) -> None:
    sql = (
        "update provider_calls set finished_at = null, outcome = null where step = 'create';"
        " delete from audit_log where action = 'provider_call.completed' and entity_id = %(create_id)s::text"
    )
    damage(database, sql, healthy.names)
    assert postbox("check", "--quiesced").code == 0


@pytest.mark.parametrize("waits_for", ["not_there_yet", "payment_not_found", "circuit_open"])
def test_quiesced_allows_no_pending_delivery_whatever_it_waits_for(
    postbox: Postbox, database: Clone, healthy: story.Story, waits_for: str
) -> None:
    conn = database.connect(admin=True)
    conn.execute(
        "update deliveries set status = 'pending', done_at = null, due_at = clock_timestamp() + interval '1 hour',"
        " deferred_for = %s where handler = 'watch_settlement'",
        [waits_for],
    )
    assert postbox("check").code == 0
    assert [v["invariant"] for v in postbox("check", "--quiesced", "--json").json["violations"]] == ["deliveries_move"]


def test_quiesced_allows_no_credit_that_the_provider_has_not_matched_yet(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = factories.payment(conn, "confirmed")
    books.handle(conn, "credit_merchant", p)
    story.finish_deliveries(conn)
    assert postbox("check").code == 0
    assert "clearing_is_zero" in {v["invariant"] for v in postbox("check", "--quiesced", "--json").json["violations"]}


def test_one_payment_is_checked_alone(postbox: Postbox, database: Clone, healthy: story.Story) -> None:
    conn = database.connect(admin=True)
    other = story.settled(conn)
    damage(database, "update payments set description = 'x' where id = %(payment_id)s", other.names)
    assert postbox("check", "--payment", healthy["payment_id"]).code == 0
    assert postbox("check", "--payment", f"pay_{other['payment_id'].hex}").code == 1
    assert postbox("check", "--payment", "nonsense").code == 2
