"""Two steps in one transaction are two steps: each is judged, audited and told, and both fall together."""

from __future__ import annotations

import pytest
from psycopg import sql

from tests import factories
from tests.factories import Connection, Row
from tests.sql import matrix
from tests.sql.edges import ACCEPTED, ACTORS, ROLE_ACTORS, STATES, verdict
from tests.sql.matrix import MODES, attempt_all, evidence_due


def chains(p: Row) -> dict[str, tuple[Row, Row]]:
    """Every pair of further states, with the columns of both updates."""
    found: dict[str, tuple[Row, Row]] = {}
    for first in (state for state in STATES if state != p["state"]):
        columns = {"state": first} | factories.facts_of(p, first)
        between = p | columns
        for second in (state for state in STATES if state != first):
            found[f"{first} {second}"] = (columns, {"state": second} | factories.facts_of(between, second))
    return found


def expected(role: str, actor: str, p: Row, steps: tuple[Row, Row]) -> str:
    first, second = steps
    settled = p["settled_at"] is not None
    before, between = p["amount_captured"], first.get("amount_captured", p["amount_captured"])
    judged = verdict(
        role, actor, p["state"], first["state"], frozenset(first), settled=settled, captures=before != between
    )
    if judged == ACCEPTED:
        settled = settled or first["state"] == "settled"
        captures = second.get("amount_captured", between) != between
        judged = verdict(
            role, actor, first["state"], second["state"], frozenset(second), settled=settled, captures=captures
        )
    if judged == ACCEPTED and first["state"] in ("failed", "canceled") and p["provider_ref"] is None:
        return "23514"  # nobody adopts what no provider has ever seen
    if judged == ACCEPTED and second["state"] == "charged_back" and p["method"] != "card":
        return "23514"  # what a bank takes back is returned, whatever it is called
    return judged


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", STATES)
def test_both_steps_are_judged_and_both_leave_their_evidence(conn: Connection, state: str, mode: str) -> None:
    p = factories.payment(conn, state)
    factories.agree_to_adopt(conn, p)
    steps = chains(p)
    statements = {
        name: sql.SQL("; ").join([matrix.update(p, first), matrix.update(p, second)])
        for name, (first, second) in steps.items()
    }
    before, subscribed = matrix.rows_in_all(conn), matrix.subscriptions(conn)
    attempts = attempt_all(conn, p, statements, mode=mode)
    assert len(attempts) == len(ROLE_ACTORS) * len(ACTORS) * len(steps)
    for a in attempts:
        wanted = expected(a.role, a.actor, p, steps[a.statement])
        assert a.result == wanted, a
        walked = [step["state"] for step in steps[a.statement]]
        assert wanted != ACCEPTED or a.evidence == evidence_due(p, a, walked, mode, subscribed), a
    assert matrix.rows_in_all(conn) == before


def test_every_step_of_a_walk_in_one_transaction_is_told_in_order_under_one_xid(conn: Connection) -> None:
    p = factories.payment(conn, "submitting")
    for state in ("submitted", "confirmed", "settled"):
        p = factories.advance(conn, p, state)
    rows = conn.execute(
        "select topic, recorded_xid from events where payment_id = %s order by id", [p["id"]]
    ).fetchall()
    assert [r["topic"] for r in rows] == [
        "payment.initiated", "payment.submission_started", "payment.provider_submitted", "payment.confirmed",
        "payment.settled",
    ]  # fmt: skip
    assert len({r["recorded_xid"] for r in rows}) == 1
