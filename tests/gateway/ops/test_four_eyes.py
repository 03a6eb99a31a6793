"""What moves money, or leaves it, takes two people: within a day, never the same one twice, and done when agreed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import factories
from tests.gateway.ops.test_acts import REASON, audited
from tests.gateway.ops.test_reads import dead_letter
from tests.sql.refusal import answer as refusal


def proposed(desk, sql):
    """A discard of a delivery that moves money, and the path to decide about it."""
    name = dead_letter(sql, factories.payment(sql))
    answer = desk.post(f"/ops/v1/dead-letters/{name}/discard", REASON)
    assert answer.status_code == 202, answer.text
    return name, f"/ops/v1/proposals/{answer.get_json()['id']}"


def resolutions(sql):
    return sql.execute(
        "select resolution, resolved_by, resolved_reason from deliveries where resolution is not null"
    ).fetchall()


def let_a_day_pass(conn):
    """Sets every proposal a day back, which nobody can but a superuser without triggers."""
    triggers = ("proposals_200_check", "proposals_500_audit")
    for trigger in triggers:
        conn.execute(f"alter table proposals disable trigger {trigger}")
    conn.execute(
        "update proposals set proposed_at = proposed_at - d, expires_at = expires_at - d"
        " from (values (interval '1 day')) as back (d)"
    )
    for trigger in triggers:
        conn.execute(f"alter table proposals enable always trigger {trigger}")


def test_what_one_proposes_another_approves_and_then_it_is_done(desk, sql):
    maker, checker = desk("operator"), desk("approver")
    name, path = proposed(maker, sql)
    assert resolutions(sql) == []
    open_ones = checker.get("/ops/v1/proposals", open="true").get_json()["data"]
    assert [(row["act"], row["parameters"]) for row in open_ones] == [("discard", {"letter": name})]
    assert checker.post(f"{path}/approve", REASON).get_json()["status"] == "approved"
    assert resolutions(sql) == [{"resolution": "discarded", "resolved_by": maker.name, "resolved_reason": "asked for"}]
    assert [row["actor_id"] for action in ("proposal.made", "proposal.approved", "dead_letter.discarded")
            for row in audited(sql, action)] == [maker.name, checker.name, checker.name]  # fmt: skip
    assert checker.post(f"{path}/approve", REASON).get_json()["code"] == "state_conflict"


def test_nobody_approves_what_they_proposed(desk, sql):
    root = desk("admin")
    _, path = proposed(root, sql)
    answer = root.post(f"{path}/approve", REASON)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "same_person")
    assert resolutions(sql) == []
    assert root.post(f"{path}/reject", REASON).get_json()["status"] == "rejected"
    assert desk("approver").post(f"{path}/approve", REASON).status_code == 409


def test_a_day_later_nobody_may_approve_and_it_may_be_proposed_anew(desk, sql):
    maker, checker = desk("operator"), desk("approver")
    name, path = proposed(maker, sql)
    again = maker.post(f"/ops/v1/dead-letters/{name}/discard", REASON)
    assert again.status_code == 422
    let_a_day_pass(sql)
    assert checker.post(f"{path}/approve", REASON).get_json()["state"] == "expired"
    assert resolutions(sql) == []
    assert maker.post(f"/ops/v1/dead-letters/{name}/discard", REASON).status_code == 202


def test_two_who_approve_at_once_do_it_once(desk, sql):
    maker, checkers = desk("operator"), [desk("approver"), desk("admin")]
    _, path = proposed(maker, sql)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda who: who.post(f"{path}/approve", REASON).status_code, checkers))
    assert sorted(answers) == [200, 409]
    assert len(audited(sql, "dead_letter.discarded")) == 1


def test_what_was_replayed_meanwhile_is_not_discarded(desk, sql):
    maker, checker = desk("operator"), desk("approver")
    name, path = proposed(maker, sql)
    assert maker.post(f"/ops/v1/dead-letters/{name}/replay", REASON).status_code == 200
    assert checker.post(f"{path}/approve", REASON).status_code == 404
    assert [row["resolution"] for row in resolutions(sql)] == ["replayed"]
    assert checker.get("/ops/v1/proposals").get_json()["data"][0]["status"] == "open"


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_a_payment_that_was_over_is_adopted_by_two(desk, sql, state):
    maker, checker = desk("operator"), desk("approver")
    p = factories.payment(sql, state)
    path = f"/ops/v1/payments/pay_{p['id'].hex}"
    answer = maker.post(f"{path}/adopt", REASON | {"amount": 900})
    if p["provider_ref"] is None:
        assert answer.status_code == 422
        return
    assert maker.get(path).get_json()["state"] == state
    assert checker.post(f"/ops/v1/proposals/{answer.get_json()['id']}/approve", REASON).status_code == 200
    sheet = maker.get(path).get_json()
    assert (sheet["state"], sheet["captured"]) == ("confirmed", 900)
    assert maker.post(f"{path}/adopt", REASON | {"amount": 900}).get_json()["code"] == "state_conflict"


def test_more_than_was_asked_for_is_not_adopted(desk, sql):
    p = factories.payment(sql, "failed")
    answer = desk("operator").post(f"/ops/v1/payments/pay_{p['id'].hex}/adopt", REASON | {"amount": p["amount"] + 1})
    assert answer.status_code == 422


def refund_limit(sql):
    return sql.execute("select amount from refund_limits where currency = 'usd'").fetchone()["amount"]


def test_a_refund_up_to_the_limit_takes_one_person_and_beyond_it_two(desk, sql):
    maker, checker, limit = desk("operator"), desk("approver"), refund_limit(sql)
    p = factories.payment(sql, "confirmed", amount=2 * limit)
    path = f"/ops/v1/payments/pay_{p['id'].hex}"
    small = maker.post(f"{path}/refunds", REASON | {"amount": limit})
    assert (small.status_code, small.get_json()["amount"]) == (201, limit)
    rest = maker.post(f"{path}/refunds", REASON | {"amount": limit, "cause": "fraudulent"})
    assert (rest.status_code, rest.get_json()["act"]) == (202, "refund")
    assert refunds(sql) == [("requested", limit)]
    decision = checker.post(f"/ops/v1/proposals/{rest.get_json()['id']}/approve", REASON)
    assert decision.status_code == 200, decision.text
    assert refunds(sql) == [("requested", limit), ("fraudulent", limit)]
    assert sql.execute("select kind from operations where kind = 'refund'").rowcount == 2
    assert maker.post(f"{path}/refunds", REASON | {"amount": 1}).get_json()["code"] == "state_conflict"


def refunds(sql):
    return [(row["reason"], row["amount"]) for row in sql.execute("select * from refunds order by created_at")]


def test_more_than_is_left_is_neither_given_back_nor_proposed(desk, sql):
    p = factories.payment(sql, "confirmed", amount=2 * refund_limit(sql))
    for amount, state in ((p["amount"] + 1, "confirmed"), (1, "authorized")):
        of = p if state == "confirmed" else factories.payment(sql, state)
        answer = desk("operator").post(f"/ops/v1/payments/pay_{of['id'].hex}/refunds", REASON | {"amount": amount})
        assert answer.get_json()["code"] == ("invalid" if state == "confirmed" else "state_conflict")
    assert desk("operator").post("/ops/v1/payments/pay_0/refunds", REASON | {"amount": 1}).status_code == 404
    assert refunds(sql) == []


# -- and the database itself ------------------------------------------------------------------------------------

PROPOSE = (
    "insert into proposals (merchant_id, act, parameters, parameters_sha256, proposed_by, reason, expires_at)"
    " values (%(m)s, 'discard', '{}', 'x', %(by)s, 'r', clock_timestamp() + %(for)s::interval)"
)
DECIDE = "update proposals set status = 'approved', decided_by = %(by)s, decision_reason = 'r'"


@pytest.fixture
def made(conn):
    """A proposal of ann's; bob is there as well."""
    values = {"m": factories.merchant(conn)["id"], "by": "ann", "for": "1 hour"}
    with factories.signed_in(conn, "ann"):
        conn.execute(PROPOSE, values)
    return values


def said(conn, statement, given, by):
    """What the database says to somebody who is signed in."""
    return refusal(conn, statement, given, actor="operator", actor_id=by, session=factories.session_of(conn, by))


def test_the_database_holds_maker_from_checker_and_both_to_their_names(conn, made):
    assert said(conn, DECIDE, {"by": "ann"}, "ann") == "proposals_maker_is_not_checker"
    assert said(conn, DECIDE, {"by": "bob"}, "ann") == "PB002"
    assert said(conn, DECIDE, {"by": "bob"}, "bob") == "accepted"
    assert said(conn, PROPOSE, made | {"by": "bob"}, "ann") == "PB002"
    assert said(conn, PROPOSE, made, "ann") == "proposals_one_open_of_a_kind"
    let_a_day_pass(conn)
    assert said(conn, DECIDE, {"by": "bob"}, "bob") == "proposals_approved_in_time"


def test_a_proposal_is_for_a_day_at_most_decided_once_and_never_rewritten(conn, made):
    longer = made | {"for": "25 hours", "m": factories.merchant(conn)["id"]}
    assert said(conn, PROPOSE, longer, "ann") == "proposals_expire_within_a_day"
    rewrite = 'update proposals set parameters = \'{"letter": "other"}\''
    assert said(conn, rewrite, None, "ann") == "42501"
    with factories.signed_in(conn, "bob"):
        conn.execute(DECIDE, {"by": "bob"})
    assert said(conn, DECIDE, {"by": "bob"}, "bob") == "PB004"
    assert refusal(conn, "delete from proposals", actor="system") == "PB004"
