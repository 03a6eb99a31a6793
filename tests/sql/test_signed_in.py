"""What takes two people takes two who are signed in: a name that is set is nobody, in psql as anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.operator_role import RIGHTS, OperatorRole, Right
from tests import factories
from tests.factories import CHECKER, Connection, Row
from tests.reconciliation.comparing import compare, line, opened
from tests.sql.refusal import ACCEPTED, answer

PROPOSE = (
    "insert into proposals (merchant_id, act, parameters, parameters_sha256, proposed_by, reason, expires_at)"
    " values (%(merchant_id)s, 'discard', '{}', 'x', %(by)s, 'r', clock_timestamp() + interval '1 hour')"
)
DECIDE = "update proposals set status = %(status)s, decided_by = %(by)s, decision_reason = 'r' where id = %(id)s"
WRITE_OFF = "select write_off_discrepancy(%(merchant_id)s, %(id)s, 'too small')"
ROLES = ("postbox_operator", "postbox_owner")


@pytest.fixture
def made(conn: Connection) -> Row:
    """What somebody proposed."""
    return factories.proposed(conn, "discard", factories.merchant(conn)["id"], {"letter": "x"})


def by(conn: Connection, statement: str, name: str, given: Row, *, session: str = "", role: str | None = None) -> str:
    """What the database says when somebody does this under a name."""
    return answer(conn, statement, given | {"by": name}, actor="operator", actor_id=name, role=role, session=session)


@pytest.mark.parametrize("role", list(OperatorRole))
def test_a_person_proposes_and_decides_what_their_role_includes(conn: Connection, made: Row, role: str) -> None:
    session = factories.session_of(conn, "ann", role)
    said = {
        Right.PROPOSE: by(conn, PROPOSE, "ann", made, session=session),
        Right.DECIDE: by(conn, DECIDE, "ann", made | {"status": "approved"}, session=session),
    }
    assert said == {right: ACCEPTED if right in RIGHTS[OperatorRole(role)] else "PB002" for right in said}
    assert by(conn, DECIDE, "ann", made | {"status": "rejected"}, session=session) == said[Right.DECIDE]


@pytest.mark.parametrize("role", ROLES)
def test_who_is_not_signed_in_does_neither_whatever_name_they_set(conn: Connection, made: Row, role: str) -> None:
    ann, bob = (factories.session_of(conn, name) for name in ("ann", "bob"))
    for statement in (PROPOSE, DECIDE):
        given = made | {"status": "approved"}
        assert by(conn, statement, "ann", given, session=ann, role=role) == ACCEPTED
        for session in ("", "00" * 32, bob):
            assert by(conn, statement, "ann", given, session=session, role=role) == "PB002"
        assert answer(conn, statement, given | {"by": "ann"}, actor="operator", actor_id="bob", session=bob) == "PB002"


@pytest.mark.parametrize("over", [
    "update operator_sessions set ended_at = clock_timestamp()",
    "update operators set disabled_at = clock_timestamp()",
    "update operator_sessions set created_at = created_at - interval '1 day'",
])  # fmt: skip
def test_a_session_that_is_over_proves_nothing(conn: Connection, made: Row, over: str) -> None:
    session = factories.session_of(conn, "ann")
    with factories.acting(conn, "operator", role="postbox_owner"):
        conn.execute(over)
    assert by(conn, PROPOSE, "ann", made, session=session) == "PB002"


def test_one_session_is_not_two_people(conn: Connection, made: Row) -> None:
    """Whoever sets the checker's name with the maker's session is the maker, and the maker's session is not theirs."""
    maker = factories.session_of(conn, factories.MAKER)
    factories.session_of(conn, CHECKER)
    assert by(conn, DECIDE, CHECKER, made | {"status": "approved"}, session=maker) == "PB002"
    mine = by(conn, DECIDE, factories.MAKER, made | {"status": "approved"}, session=maker)
    assert mine == "proposals_maker_is_not_checker"


@pytest.mark.parametrize("role", ["postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance"])
def test_no_runtime_role_reads_what_proves_a_session_or_makes_one(conn: Connection, role: str) -> None:
    factories.session_of(conn, "ann")
    for statement in (
        "select token_hmac from postbox.operator_sessions",
        "insert into postbox.operator_sessions (token_hmac, operator_id) select sha256('x'), id from postbox.operators",
        "update postbox.operator_sessions set token_hmac = sha256('x')",
        "update postbox.operator_sessions set operator_id = gen_random_uuid()",
        "select postbox.signed_in_person()",
    ):
        assert answer(conn, statement, actor="operator", role=role) == "42501"
    opened_by = "select postbox.open_session(gen_random_uuid(), 1, 'x', now(), null, sha256('x'))"
    assert answer(conn, opened_by, actor="api", role=role) == (ACCEPTED if role == "postbox_api" else "42501")


@pytest.mark.parametrize("asking, posting", [("operator", "approver"), ("admin", "admin")])
def test_a_write_off_is_asked_for_and_posted_by_two_who_may_and_are_signed_in(
    conn: Connection, asking: str, posting: str
) -> None:
    found = left_over(conn)
    sessions: dict[str, Any] = {"ann": factories.session_of(conn, "ann", asking)}
    sessions["ben"] = factories.session_of(conn, "ben", posting)
    sessions["eve"] = factories.session_of(conn, "eve", "viewer")
    assert by(conn, WRITE_OFF, "ann", found) == by(conn, WRITE_OFF, "eve", found, session=sessions["eve"]) == "PB002"
    with factories.signed_in(conn, "ann"):
        conn.execute(WRITE_OFF, found)
    for name, session in (("ben", ""), ("ben", sessions["ann"]), ("eve", sessions["eve"])):
        assert by(conn, WRITE_OFF, name, found, session=session) == "PB002"
    assert by(conn, WRITE_OFF, "ben", found, session=sessions["ben"]) == ACCEPTED


def left_over(conn: Connection) -> Row:
    """A discrepancy about money that clearing holds."""
    p = factories.payment(conn, "failed")
    line(conn, p, "charge", p["amount"])
    compare(conn, p)
    (found,) = (row for row in opened(conn, p) if row["type"] == "money_after_final")
    return found
