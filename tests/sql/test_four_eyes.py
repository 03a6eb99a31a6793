"""What takes two people is held by the database: in plain SQL, under every role that may act as an operator."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests import factories
from tests.factories import CHECKER, Connection, Row
from tests.reconciliation.comparing import compare, line, opened
from tests.sql.refusal import ACCEPTED, answer
from tests.sql.test_acts import dead_delivery

TAKES_TWO = "PB005"
# Who may act as an operator at all.
ROLES = ("postbox_operator", "postbox_owner")

ADOPT = "update postbox.payments set state = 'confirmed', amount_captured = %(amount)s where id = %(payment)s"
DISCARD = (
    "update postbox.deliveries set resolution = 'discarded', resolved_by = 'ann', resolved_at = clock_timestamp(),"
    " resolved_reason = 'twice' where event_id = %(event)s and handler = %(handler)s"
)
REFUND = (
    "with o as (insert into postbox.operations"
    " (merchant_id, id, payment_id, kind, step, amount, reason, params, params_sha256)"
    " values (%(merchant)s, %(operation)s, %(payment)s, 'refund', 'refund', %(amount)s, 'requested', %(params)s, 'x')"
    " returning id)"
    " insert into postbox.refunds"
    " (merchant_id, id, payment_id, currency, amount, origin, operation_id, reason, provider, provider_account)"
    " select %(merchant)s, %(refund)s, %(payment)s, 'usd', %(amount)s, 'api', o.id, 'requested', 'stripe', 'default'"
    " from o"
)


@dataclass
class Act:
    """A statement that takes two people, and the proposal that it needs."""

    name: str
    statement: str
    given: Row
    parameters: Row
    other: Row  # the parameters of something else

    def agreed(self, conn: Connection, **changes: Any) -> Row:
        return factories.agreed(conn, self.name, self.given["merchant"], self.parameters, **changes)

    def tried(self, conn: Connection, role: str = "postbox_operator", actor: str = "operator") -> str:
        merchant = self.given["merchant"]
        return answer(conn, self.statement, self.given, role=role, actor=actor, merchant_id=merchant)


def adoption(conn: Connection) -> Act:
    p = factories.payment(conn, "failed")
    given = {"payment": p["id"], "merchant": p["merchant_id"], "amount": p["amount"]}
    parameters = {"payment": str(p["id"]), "amount": p["amount"]}
    return Act("adopt", ADOPT, given, parameters, parameters | {"amount": p["amount"] - 1})


def discard(conn: Connection) -> Act:
    letter = dead_delivery(conn)
    given = {"merchant": letter["merchant_id"], "event": letter["event_id"], "handler": letter["handler"]}
    parameters = {"letter": f"{letter['event_id']}:{letter['handler']}"}
    return Act("discard", DISCARD, given, parameters, {"letter": f"{uuid.uuid4()}:{letter['handler']}"})


def refund(conn: Connection, amount: int | None = None) -> Act:
    """Of all of a payment that is larger than one person's limit, unless an amount is given."""
    p = factories.payment(conn, "confirmed", amount=2 * limit(conn))
    amount = amount or p["amount"]
    given = {"payment": p["id"], "merchant": p["merchant_id"], "amount": amount, "params": Jsonb({"amount": amount})}
    given |= {"operation": uuid.uuid4(), "refund": uuid.uuid4()}
    parameters = {"payment": str(p["id"]), "amount": amount, "cause": "requested"}
    return Act("refund", REFUND, given, parameters, parameters | {"amount": amount - 1})


def limit(conn: Connection) -> int:
    row = conn.execute("select amount from refund_limits where currency = 'usd'").fetchone()
    assert row is not None
    return int(row["amount"])


ACTS: tuple[Callable[[Connection], Act], ...] = (adoption, discard, refund)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("make", ACTS)
def test_it_is_done_by_two_and_not_by_one_whatever_the_role(conn: Connection, make, role: str) -> None:
    act = make(conn)
    assert act.tried(conn, role) == TAKES_TWO
    act.agreed(conn)
    assert act.tried(conn, role) == ACCEPTED


@pytest.mark.parametrize(("role", "actor"), [
    ("postbox_api", "api"), ("postbox_worker", "worker"), ("postbox_worker", "reconciler"),
    ("postbox_operator", "reconciler"), ("postbox_compliance", "operator"), ("postbox_api", "operator"),
])  # fmt: skip
@pytest.mark.parametrize("make", (adoption, discard))
def test_nobody_else_does_it_even_when_two_agreed(conn: Connection, make, role: str, actor: str) -> None:
    act = make(conn)
    act.agreed(conn)
    assert act.tried(conn, role, actor) in ("42501", "PB002")


@pytest.mark.parametrize("make", ACTS)
def test_what_two_agreed_to_is_done_once(conn: Connection, make) -> None:
    act = make(conn)
    made = act.agreed(conn)
    with factories.acting(conn, "operator", actor_id=CHECKER):
        conn.execute(act.statement, act.given)
    row = conn.execute("select carried_out_at from proposals where id = %(id)s", made).fetchone()
    assert row is not None and row["carried_out_at"] is not None
    again = "select carry_out(%s, %s, %s)"
    given = [act.name, act.given["merchant"], Jsonb(act.parameters)]
    assert answer(conn, again, given, actor="operator", role="postbox_owner") == TAKES_TWO
    assert answer(conn, again, given, actor="operator") == "42501"
    mark = "update proposals set carried_out_at = null"
    assert answer(conn, mark, actor="operator") == "42501"
    assert answer(conn, mark, actor="operator", role="postbox_owner") == "PB004"


@pytest.mark.parametrize("make", ACTS)
def test_it_is_exactly_what_was_agreed_to_while_it_lasts(conn: Connection, make) -> None:
    act = make(conn)
    factories.agreed(conn, act.name, act.given["merchant"], act.other)
    factories.agreed(conn, act.name, factories.merchant(conn)["id"], act.parameters)
    propose(conn, act)
    assert act.tried(conn) == TAKES_TWO, "another thing, another merchant's, and an open proposal are no leave"
    decide(conn, act, "rejected")
    assert act.tried(conn) == TAKES_TWO
    act.agreed(conn)
    let_a_day_pass(conn)
    assert act.tried(conn) == TAKES_TWO
    act.agreed(conn)
    assert act.tried(conn) == ACCEPTED


def propose(conn: Connection, act: Act) -> None:
    factories.proposed(conn, act.name, act.given["merchant"], act.parameters)


def decide(conn: Connection, act: Act, status: str) -> None:
    with factories.signed_in(conn, CHECKER):
        conn.execute(
            "update proposals set status = %s, decided_by = %s, decision_reason = 'r' where parameters = %s"
            " and merchant_id = %s and status = 'open'",
            [status, CHECKER, Jsonb(act.parameters), act.given["merchant"]],
        )


def let_a_day_pass(conn: Connection) -> None:
    """Sets every proposal a day back, which nobody can but a superuser without triggers."""
    conn.execute("alter table proposals disable trigger user")
    conn.execute(
        "update proposals set proposed_at = proposed_at - d, expires_at = expires_at - d, decided_at = decided_at - d"
        " from (values (interval '1 day')) as back (d)"
    )
    conn.execute("alter table proposals enable trigger user")
    conn.execute(
        "alter table proposals enable always trigger proposals_200_check,"
        " enable always trigger proposals_500_audit, enable always trigger proposals_200_no_truncate"
    )


# -- ways around ------------------------------------------------------------------------------------------------


def test_many_small_refunds_are_one_large_one(conn: Connection) -> None:
    act = refund(conn, limit(conn))
    assert act.tried(conn) == ACCEPTED, "up to the limit one person is enough"
    with factories.acting(conn, "operator"):
        conn.execute(act.statement, act.given)
    one_more = act.given | {
        "amount": 1,
        "params": Jsonb({"amount": 1}),
        "operation": uuid.uuid4(),
        "refund": uuid.uuid4(),
    }
    assert answer(conn, act.statement, one_more, actor="operator") == TAKES_TWO


def test_a_merchants_own_refund_takes_no_operator(conn: Connection) -> None:
    assert refund(conn).tried(conn, "postbox_api", "api") == ACCEPTED


def test_what_is_sent_is_the_refund_that_was_agreed_to(conn: Connection) -> None:
    act = refund(conn, 1)
    more = act.given | {"params": Jsonb({"amount": 2})}
    assert answer(conn, act.statement, more, actor="operator") == "operations_refund_sends_its_amount"
    booked = act.statement.replace("%(amount)s, 'api'", "2, 'api'")
    assert answer(conn, booked, act.given, actor="operator") == "PB004"


def test_a_currency_without_a_limit_takes_two_and_nobody_held_by_a_limit_moves_it(conn: Connection) -> None:
    act = refund(conn, 1)
    for role in ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance"):
        raise_it = "update postbox.refund_limits set amount = 9007199254740991"
        assert answer(conn, raise_it, actor="operator", role=role) == "42501"
    with factories.acting(conn, "operator", role="postbox_owner", reason="the auditors"):
        conn.execute("delete from refund_limits where currency = 'usd'")
    assert act.tried(conn) == TAKES_TWO
    told = conn.execute("select reason from audit_log where action = 'refund_limit.changed'").fetchall()
    assert told == [{"reason": "the auditors"}]


@pytest.mark.parametrize("actor", ["operator", "reconciler"])
def test_an_operator_says_what_was_captured_by_an_adoption_only(conn: Connection, actor: str) -> None:
    p = factories.payment(conn, "confirmed", amount=500)
    less = "update payments set amount_captured = 499 where id = %(id)s"
    act = factories.acting(conn, actor, role="postbox_operator", on_behalf_of="ann")
    with pytest.raises(factories.psycopg.Error) as refused, act:
        conn.execute(less, p)
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == (
        "PB002", "what was captured is the provider's to say"
    )  # fmt: skip


@pytest.mark.parametrize("end", [
    "status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures', job_id = null, resolution = 'discarded',"
    " resolved_by = 'ann', resolved_at = clock_timestamp(), resolved_reason = 'r'",
    "due_at = 'infinity', job_id = null",
    "due_at = due_at + interval '1 second', job_id = null",
])  # fmt: skip
def test_what_is_to_be_done_is_not_discarded_alive_either(conn: Connection, end: str) -> None:
    p = factories.payment(conn)
    refused = answer(conn, f"update deliveries set {end} where payment_id = %(id)s", p, actor="operator")
    assert refused in ("PB002", "PB004")


def test_who_is_disabled_neither_proposes_nor_decides(conn: Connection) -> None:
    act = adoption(conn)
    factories.agreed(conn, act.name, act.given["merchant"], act.other)  # makes them
    propose(conn, act)
    with factories.acting(conn, "operator"):
        conn.execute("update operators set disabled_at = clock_timestamp()")
    for work in (lambda: decide(conn, act, "approved"), lambda: propose(conn, discard(conn))):
        with pytest.raises(factories.psycopg.Error) as refused:
            work()
        assert refused.value.sqlstate == "PB002"


# -- a write-off, which one operator asks for and another posts ----------------------------------------------------

WRITE_OFF = "select * from write_off_discrepancy(%(merchant_id)s, %(id)s, 'too small')"


@pytest.fixture
def left_over(conn: Connection) -> Row:
    """A discrepancy about money that clearing holds."""
    p = factories.payment(conn, "failed")
    line(conn, p, "charge", p["amount"])
    compare(conn, p)
    (found,) = (row for row in opened(conn, p) if row["type"] == "money_after_final")
    return found


def write_off(conn: Connection, found: Row, by: str) -> str:
    with factories.signed_in(conn, by):
        row = conn.execute(WRITE_OFF, found).fetchone()
    assert row is not None
    return str(row["status"])


def test_one_operator_asks_for_a_write_off_and_never_posts_it(conn: Connection, left_over: Row) -> None:
    assert [write_off(conn, left_over, "ann") for _ in range(3)] == ["open"] * 3
    conn.execute("alter table discrepancies disable trigger user")
    conn.execute("update discrepancies set write_off_asked_at = write_off_asked_at - interval '1 day'")
    assert write_off(conn, left_over, "ben") == "open", "what was asked for a day ago is asked for anew"
    assert write_off(conn, left_over, "ann") == "written_off"


@pytest.mark.parametrize("role", ["postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance"])
def test_nobody_writes_one_off_by_hand(conn: Connection, left_over: Row, role: str) -> None:
    by_hand = (
        "update postbox.discrepancies set status = 'written_off', closed_at = now(), resolved_by = 'ann',"
        " resolution_code = 'written_off', resolution_note = 'r'"
    )
    refused = ("42501", "PB002", "discrepancies_written_off_by_two")
    assert answer(conn, by_hand, left_over, actor="operator", role=role) in refused
    assert answer(conn, f"{by_hand}, approved_by = 'ben'", left_over, actor="operator", role=role) == "42501"
    if role != "postbox_operator":
        asked = WRITE_OFF.replace("from ", "from postbox.")
        assert answer(conn, asked, left_over, actor="operator", role=role) == "42501"
