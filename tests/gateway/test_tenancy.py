"""What one merchant can learn of another through HTTP: nothing, not even that there is one."""

import json
import uuid

from app.gateway.context import EXTENSION
from app.model.actor import Actor, ActorType, Role
from app.services.authentication import authenticate
from tests import factories
from tests.gateway.conftest import CARD
from tests.gateway.test_webhooks import EVENT, send
from tests.gateway.waiting import until


def until_fed(api, count: int) -> set[str]:
    """The payments of the feed, once it shows at least so many events: it holds back what others still write."""
    rows = until(lambda: found if len(found := api.get("/v1/events").get_json()["data"]) >= count else None, "the feed")
    return {row["payment"] for row in rows}


def test_lists_and_the_feed_show_only_ones_own(login):
    a, b = login(), login()
    own = [{api.create(reference="same")["id"] for _ in range(3)} for api in (a, b)]
    for api, ids in zip((a, b), own, strict=True):
        assert {row["id"] for row in api.get("/v1/payments").get_json()["data"]} == ids
        assert {row["id"] for row in api.get("/v1/payments", reference="same").get_json()["data"]} == ids
        assert until_fed(api, len(ids)) == ids


def test_a_cursor_of_another_leads_to_ones_own(login):
    a, b, nobody = login(), login(), login()
    for api in (a, b, a, b, a, b):
        api.create()
    for api in (a, b):
        until_fed(api, 3)
    for path in ("/v1/payments", "/v1/events"):
        cursor = a.get(path, limit=1).get_json()["next_cursor"]
        mine = b.get(path).get_json()["data"]
        assert all(row in mine for row in b.get(path, cursor=cursor).get_json()["data"])
        assert nobody.get(path, cursor=cursor).get_json()["data"] == []


def test_an_idempotency_key_of_another_is_free(login):
    a, b = login(), login()
    first, second = (api.post("/v1/payments", CARD, key="the-same") for api in (a, b))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json()["id"] != second.get_json()["id"]
    assert "Idempotency-Replayed" not in second.headers


def test_after_authentication_the_transaction_sees_the_merchant_and_nobody_else(app, login, sql):
    a, b = login(), login()
    for api in (a, b):
        api.create()

    def look(tx):
        before = tx.connection.execute("select count(*) as n from payments").fetchone()["n"]
        authenticate(tx, a.key, pepper=factories.PEPPER)
        after = tx.connection.execute("select distinct merchant_id as m from payments").fetchall()
        return before, [row["m"] for row in after]

    edge = app.extensions[EXTENSION]
    edge.database.open()
    assert edge.database.transact(Actor(ActorType.API, "k", Role.API), look) == (0, [a.merchant_id])


def test_a_webhook_is_stored_for_the_owner_of_its_account(app, sql, login):
    """The platform for a shared one; what the body claims about a merchant is a hint and moves nothing."""
    api = login()
    claims = json.loads(json.dumps(EVENT))
    claims["data"]["object"]["metadata"] = {
        "payment_id": str(uuid.uuid4()), "merchant_id": str(api.merchant_id)
    }  # fmt: skip
    assert send(app, claims).status_code == 200
    webhook = sql.execute("select merchant_id, payment_merchant_id from webhooks").fetchone()
    assert (webhook["merchant_id"], webhook["payment_merchant_id"]) == (uuid.UUID(int=0), api.merchant_id)

    sql.execute("alter table provider_accounts disable trigger all")
    sql.execute("update provider_accounts set merchant_id = %s where account = 'default'", [api.merchant_id])
    assert send(app, EVENT | {"id": "evt_2"}).status_code == 200
    assert send(app, secret="whsec_other").status_code == 400
    found = sql.execute("select merchant_id from webhooks where provider_event_id = 'evt_2'").fetchone()
    refused = sql.execute("select merchant_id from webhook_rejections").fetchone()
    assert found == refused == {"merchant_id": api.merchant_id}


def test_a_timeline_tells_of_webhooks_to_a_shared_account_and_of_no_other_payments(sql, login):
    a, b = login(), login()
    for api in (a, b):
        p = factories.payment(sql, "confirmed", merchant_id=api.merchant_id)
        factories.webhook(sql, payment_ref=p["provider_ref"], provider_event_id=f"evt_{p['id'].hex}")
        told = api.get(f"/v1/payments/pay_{p['id'].hex}/timeline").get_json()["data"]
        webhooks = [row for row in told if "webhook" in row.values()]
        assert len(webhooks) == 1
        assert f"evt_{p['id'].hex}" in json.dumps(webhooks)


def test_metrics_count_what_no_merchant_may_see(app, sql, login):
    factories.payment(sql, "outcome_unknown")
    factories.payment(sql, "outcome_unknown")
    text = app.test_client().get("/metrics").text
    assert "postbox_payments_outcome_unknown 2.0" in text
    assert 'postbox_deliveries_pending{handler="submit_payment",lane="remote"} 2.0' in text
