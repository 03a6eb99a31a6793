"""Creating, showing and listing payments."""

import pytest

from app.model.states import State
from tests import factories
from tests.gateway.conftest import CARD


def test_a_payment_is_accepted_and_shown_as_accepted(api):
    answer = api.post(
        "/v1/payments",
        CARD | {"reference": "order 7", "metadata": {"cart": "9"}},
    )
    made = answer.get_json()
    assert answer.status_code == 201
    assert (made["object"], made["state"], made["amount"], made["currency"]) == ("payment", "initiated", 1_000, "usd")
    assert (made["version"], made["livemode"], made["metadata"]) == (1, False, {"cart": "9"})
    assert made["id"].startswith("pay_")
    assert made["created_at"].endswith("Z")
    assert (made["next_action"], made["failure"], made["settled_at"]) == (None, None, None)
    assert api.get(f"/v1/payments/{made['id']}").get_json() == made


def test_what_a_payment_costs_and_what_it_was_paid_with_are_shown_once_they_are_known(api, sql, payment_in):
    with factories.acting(sql, "operator"):
        sql.execute("insert into fee_schedules (name, version, bps, effective_at) values ('one', 1, 100, '2020-01-01')")
        sql.execute("update merchants set fee_schedule = 'one' where id = %s", [api.merchant_id])
    row, name = payment_in("confirmed")
    shown = api.get(f"/v1/payments/{name}").get_json()
    assert (shown["fee"], shown["method"]) == (None, {"type": "card", "last4": None})
    with factories.acting(sql, "worker"):
        factories.update_payment(sql, row, fee=10, method_last4="4242")
    shown = api.get(f"/v1/payments/{name}").get_json()
    assert (shown["fee"], shown["method"]) == (10, {"type": "card", "last4": "4242"})


def test_key_payment_audit_event_delivery_and_job_are_one_transaction(api, sql):
    api.create()
    xids = sql.execute("""
        select xmin::text from payments union all select xmin::text from idempotency_keys
        union all select xmin::text from events
        union all select xmin::text from audit_log where action = 'payment.created'
        union all select xmin::text from deliveries union all select xmin::text from procrastinate_jobs
    """).fetchall()
    assert len(xids) == 6
    assert len({row["xmin"] for row in xids}) == 1


def test_the_audit_names_the_key_and_the_request(api, sql):
    api.post("/v1/payments", CARD, X_Request_Id="from-the-shop")
    entry = sql.execute("select * from audit_log where action = 'payment.created'").fetchone()
    assert (entry["actor_type"], entry["actor_id"], entry["request_id"]) == ("api", api.key.id, "from-the-shop")


@pytest.mark.parametrize(
    "amount, currency, pointer",
    [(49, "usd", "/amount"), (100_000_000, "usd", "/amount"), (1_235, "kwd", "/amount"), (1_000, "xau", "/currency")],
)
def test_an_amount_the_provider_would_refuse_is_refused(api, sql, amount, currency, pointer):
    answer = api.post("/v1/payments", CARD | {"amount": amount, "currency": currency})
    assert answer.status_code == 422
    assert answer.get_json()["code"] == "amount_refused"
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]
    assert sql.execute("select count(*) as n from payments").fetchone()["n"] == 0


def test_another_merchants_payment_is_absent(login, api):
    foreign = login().create()["id"]
    absent = "pay_" + "0" * 32
    answers = [
        api.client.get(
            f"/v1/payments/{name}",
            headers={"Authorization": f"Bearer {api.key.text()}", "X-Request-Id": "same"},
        )
        for name in (foreign, absent, "pay_nonsense", foreign.upper())
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.data for answer in answers}) == 1
    for what in ("capture", "cancel"):
        assert api.post(f"/v1/payments/{foreign}/{what}").status_code == 404
    assert api.get(f"/v1/payments/{foreign}/timeline").status_code == 404
    assert api.get("/v1/payments").get_json()["data"] == []


def test_a_live_payment_is_absent_for_a_test_key(payment_in, api):
    _, name = payment_in("initiated", livemode=True)
    assert api.get(f"/v1/payments/{name}").status_code == 404
    assert api.get("/v1/payments").get_json()["data"] == []


def test_every_state_is_shown(payment_in, api):
    for state in State:
        row, name = payment_in(state.value)
        shown = api.get(f"/v1/payments/{name}").get_json()
        assert (shown["state"], shown["version"]) == (state, row["version"])
        assert (shown["next_action"] is not None) == (state is State.REQUIRES_ACTION)
        assert (shown["failure"] is not None) == (state is State.FAILED)
        assert (shown["cancel_reason"] is not None) == (state is State.CANCELED)


def test_pages_follow_each_other_without_gap_or_repeat(api):
    made = [api.create(reference=f"order {n}")["id"] for n in range(7)]
    seen, cursor = [], None
    while True:
        page = api.get("/v1/payments", limit=3, **({"cursor": cursor} if cursor else {})).get_json()
        seen += [payment["id"] for payment in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_filters_narrow_the_list(api, payment_in):
    payment_in("failed")
    made = api.create(reference="order 8", currency="eur")
    for query in (
        {"state": "initiated"},
        {"reference": "order 8"},
        {"currency": "eur"},
        {"currency": "eur", "method": "card", "amount": made["amount"]},
        {"created[gte]": made["created_at"]},
    ):
        assert [p["id"] for p in api.get("/v1/payments", **query).get_json()["data"]] == [made["id"]]
    assert len(api.get("/v1/payments", **{"created[lt]": made["created_at"]}).get_json()["data"]) == 1
    assert api.get("/v1/payments", method="ach").get_json()["data"] == []
    assert api.get("/v1/payments", amount=made["amount"] + 1).get_json()["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 101}, {"limit": "1_0"}, {"limit": " 1"}, {"limit": "\u0661"}, {"limit": "1.0"},
        {"amount": 0}, {"amount": 2**53}, {"amount": "ten"}, {"method": "cash"},
        {"limit": "9" * 5_000}, {"state": "lost"}, {"unknown": 1},
        {"cursor": "!"}, {"cursor": "bnVsbA"}, {"created[gte]": "yesterday"}, {"created[gte]": "2026-01-01T00:00:00"},
        {"reference": "a\0b"}, {"currency": "USD"},
    ],
)  # fmt: skip
def test_a_filter_that_means_nothing_is_refused(api, query):
    answer = api.get("/v1/payments", **query)
    assert answer.status_code == 422, answer.text
    assert answer.content_type == "application/problem+json"


def test_a_timeline_tells_the_story_in_order(api, payment_in, sql):
    row, name = payment_in("requires_action")
    op = factories.operation(sql, row, "cancel")
    factories.finish_call(sql, factories.provider_call(sql, op), provider_request_id="req_1")
    factories.webhook(sql, payment_ref=row["provider_ref"])
    entries = api.get(f"/v1/payments/{name}/timeline").get_json()["data"]
    told = [(entry["kind"], entry["what"]) for entry in entries]
    assert told == [
        ("event", "payment.initiated"), ("operation", "submit.requested"), ("event", "payment.provider_submitted"),
        ("operation", "submit.succeeded"), ("event", "payment.requires_action"), ("operation", "cancel.requested"),
        ("provider_call", "cancel"), ("webhook", "payment_intent.succeeded"),
    ]  # fmt: skip
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    for secret in ("pm_card_visa", "idempotency_key", "sha256", "lease"):
        assert secret not in api.get(f"/v1/payments/{name}/timeline").text
