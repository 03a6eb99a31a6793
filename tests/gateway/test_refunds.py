"""Refunds and disputes over HTTP: what may be asked for, what two who ask at once get, what is shown and to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.model.operation import params_sha256
from app.model.states import State
from tests import factories
from tests.gateway.waiting import until, until_waiting


def reserved(sql) -> int:
    return sql.execute("select amount_refund_pending as n from payments").fetchone()["n"]


def test_a_refund_is_requested_and_its_operation_wakes_the_worker(api, payment_in, sql):
    _, name = payment_in("settled")
    answer = api.post(f"/v1/payments/{name}/refunds", {"amount": 600, "reason": "duplicate"})
    shown = answer.get_json()
    assert answer.status_code == 201
    assert (shown["object"], shown["state"], shown["payment"]) == ("refund", "requested", name)
    assert (shown["amount"], shown["currency"], shown["reason"], shown["origin"]) == (600, "usd", "duplicate", "api")
    operation = sql.execute("select * from operations where kind = 'refund'").fetchone()
    assert (operation["amount"], operation["params"]["metadata"]["operation_id"]) == (600, str(operation["id"]))
    assert f"re_{operation['params']['metadata']['refund_id'].replace('-', '')}" == shown["id"]
    assert operation["params_sha256"] == params_sha256(operation["params"])
    assert api.get(f"/v1/payments/{name}").get_json()["amount_refund_pending"] == 600
    woken = "select handler from deliveries where topic = 'operation.requested'"
    assert [delivery["handler"] for delivery in sql.execute(woken)] == ["run_operation"]


@pytest.mark.parametrize("body", [None, {}])
def test_a_refund_without_an_amount_is_of_all_that_is_left(api, payment_in, body):
    _, name = payment_in("settled", amount=1_000)
    api.post(f"/v1/payments/{name}/refunds", {"amount": 300})
    assert api.post(f"/v1/payments/{name}/refunds", body).get_json()["amount"] == 700


@pytest.mark.parametrize(
    "amount, currency, code", [(1_001, "usd", "invalid"), (0, "usd", "invalid"), (505, "kwd", "amount_refused")]
)
def test_a_refund_of_a_wrong_amount_is_refused_and_reserves_nothing(api, payment_in, sql, amount, currency, code):
    _, name = payment_in("confirmed", currency=currency, amount=1_000)
    answer = api.post(f"/v1/payments/{name}/refunds", {"amount": amount})
    assert (answer.status_code, answer.get_json()["code"]) == (422, code)
    assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/amount"]
    assert (reserved(sql), sql.execute("select from refunds").fetchall()) == (0, [])


def test_refunds_are_for_confirmed_and_settled_payments_only(api, payment_in, sql):
    for state in set(State) - {State.CONFIRMED, State.SETTLED}:
        _, name = payment_in(state.value)
        answer = api.post(f"/v1/payments/{name}/refunds")
        assert answer.status_code == 409
        assert (answer.get_json()["code"], answer.get_json()["state"]) == ("state_conflict", state)
    assert sql.execute("select from operations where kind = 'refund'").fetchall() == []


def test_when_all_is_reserved_the_next_request_is_a_conflict(api, payment_in):
    _, name = payment_in("settled")
    assert api.post(f"/v1/payments/{name}/refunds").status_code == 201
    answer = api.post(f"/v1/payments/{name}/refunds")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "state_conflict")


def test_of_twenty_refunds_of_70_of_1000_at_once_fourteen_are_accepted(app, api, payment_in, sql):
    _, name = payment_in("settled", amount=1_000)

    def ask(_: int) -> int:
        return api.post(f"/v1/payments/{name}/refunds", {"amount": 70}).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(ask, range(20)))
    # one that waited too long for the lock is told to come again, and took nothing
    assert set(codes) <= {201, 422, 503}
    assert reserved(sql) == 70 * codes.count(201) <= 1_000
    assert sql.execute("select count(*) as n from refunds").fetchone()["n"] == codes.count(201)


def test_scenario_29_of_two_refunds_of_700_of_1000_that_wait_for_each_other_one_is_accepted(
    app, api, payment_in, sql, database
):
    """Both are at the payment's lock before either has it."""
    row, name = payment_in("settled", amount=1_000)
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("select from payments where id = %s for update", [row["id"]])
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(api.post, f"/v1/payments/{name}/refunds", {"amount": 700}) for _ in range(2)]
        until_waiting(sql, 2)
        blocker.commit()
        codes = sorted(one.result().status_code for one in asked)
    assert codes == [201, 422]
    assert reserved(sql) == 700


def test_the_same_key_twice_is_one_refund(api, payment_in, sql):
    _, name = payment_in("settled")
    first, again = (api.post(f"/v1/payments/{name}/refunds", {"amount": 100}, key="once") for _ in range(2))
    assert (first.data, again.headers["Idempotency-Replayed"]) == (again.data, "true")
    assert reserved(sql) == 100


def test_refunds_are_listed_newest_first_and_shown_one_by_one(api, payment_in, sql):
    _, name = payment_in("settled", amount=1_000)
    _, other = payment_in("settled")
    ids = [api.post(f"/v1/payments/{name}/refunds", {"amount": n}).get_json()["id"] for n in (1, 2, 3)]
    api.post(f"/v1/payments/{other}/refunds")
    first = api.get("/v1/refunds", payment=name, limit=2).get_json()
    rest = api.get("/v1/refunds", payment=name, limit=2, cursor=first["next_cursor"]).get_json()
    assert [r["id"] for r in first["data"] + rest["data"]] == ids[::-1]
    assert len(api.get("/v1/refunds", state="requested").get_json()["data"]) == 4
    assert api.get("/v1/refunds", state="failed").get_json()["data"] == []
    assert api.get(f"/v1/refunds/{ids[0]}").get_json()["amount"] == 1
    assert api.get("/v1/disputes", cursor=first["next_cursor"]).status_code == 422


def test_a_dispute_is_shown_with_what_it_holds(api, payment_in, sql):
    row, name = payment_in("settled")
    d = factories.dispute(sql, row, evidence_due_at="2026-08-01T00:00:00Z")
    shown = api.get(f"/v1/disputes/dp_{d['id'].hex}").get_json()
    assert (shown["object"], shown["state"], shown["payment"]) == ("dispute", "open", name)
    assert (shown["amount"], shown["amount_withdrawn"], shown["reason"]) == (row["amount"], 0, "fraudulent")
    assert shown["evidence_due_at"] == "2026-08-01T00:00:00.000000Z"
    assert [one["id"] for one in api.get("/v1/disputes", payment=name).get_json()["data"]] == [shown["id"]]
    assert api.get("/v1/disputes", payment="pay_nothing").get_json()["data"] == []


@pytest.mark.parametrize("kind", ["refunds", "disputes"])
def test_anothers_is_not_there(api, login, payment_in, sql, kind):
    row, _ = payment_in("settled")
    make = factories.refund if kind == "refunds" else factories.dispute
    prefix = "re_" if kind == "refunds" else "dp_"
    child = f"{prefix}{make(sql, row)['id'].hex}"
    stranger = login()
    assert api.get(f"/v1/{kind}/{child}").status_code == 200
    assert stranger.get(f"/v1/{kind}/{child}").status_code == 404
    assert stranger.get(f"/v1/{kind}").get_json()["data"] == []


def test_the_feed_and_the_timeline_tell_of_refunds(api, payment_in):
    _, name = payment_in("settled")
    refund = api.post(f"/v1/payments/{name}/refunds").get_json()["id"]
    asked = {"topic": "refund.requested"}
    [event] = until(lambda: api.get("/v1/events", **asked).get_json()["data"], "the feed to reach the refund")
    assert (event["refund"], event["dispute"], event["payment"]) == (refund, None, name)
    told = [entry for entry in api.get(f"/v1/payments/{name}/timeline").get_json()["data"] if entry["kind"] == "event"]
    assert [entry["detail"].get("refund") for entry in told if entry["what"] == "refund.requested"] == [refund]
