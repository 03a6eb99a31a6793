"""What operators do: for a reason, once per key, under their own name, and never from somebody else's page."""

from __future__ import annotations

import subprocess

import pytest

from app.model.api_key import parse_key
from tests import factories
from tests.contract.fields import bodies
from tests.gateway.conftest import Api
from tests.gateway.documented import document
from tests.gateway.ops.test_reads import dead_letter
from tests.gateway.test_webhooks import EVENT, send

REASON = {"reason": "asked for"}


def audited(sql, action):
    return sql.execute(
        "select actor_type, actor_id, db_role, reason from audit_log where action = %s order by id", [action]
    ).fetchall()


def by(person, reason="asked for"):
    return {"actor_type": "operator", "actor_id": person.name, "db_role": "postbox_operator", "reason": reason}


def test_a_dead_letter_is_replayed_under_the_persons_name(desk, sql):
    ann = desk("operator")
    name = dead_letter(sql, factories.payment(sql))
    answer = ann.post(f"/ops/v1/dead-letters/{name}/replay", REASON)
    assert (answer.status_code, answer.get_json()["done"]) == (200, "replayed")
    assert audited(sql, "dead_letter.replayed") == [by(ann)]
    row = sql.execute("select status, resolved_by from deliveries where resolution is not null").fetchone()
    assert row == {"status": "pending", "resolved_by": ann.name}
    assert ann.post(f"/ops/v1/dead-letters/{name}/replay", REASON).status_code == 404


def test_a_webhook_is_handled_again_dead_or_done(app, desk, sql):
    ann = desk("operator")
    assert send(app, EVENT).status_code == 200
    webhook = ann.get("/ops/v1/webhooks").get_json()["data"][0]
    path = f"/ops/v1/webhooks/{webhook['id']}/replay"
    assert ann.post(path, REASON).get_json()["code"] == "state_conflict"
    for end in ("done_at = clock_timestamp(), status = 'done'",
                "dead_at = clock_timestamp(), status = 'dead', dead_reason = 'failures'"):  # fmt: skip
        with factories.acting(sql, "worker"):
            sql.execute(f"update deliveries set {end}, job_id = null where handler = 'apply_webhook'")
        assert ann.post(path, REASON).status_code == 200
        assert ann.get(f"/ops/v1/webhooks/{webhook['id']}").get_json()["status"] == "pending"
    assert audited(sql, "webhook.replayed") == audited(sql, "dead_letter.replayed") == [by(ann)]


def test_what_is_paused_is_shown_and_goes_on(desk, sql):
    ann = desk("operator")
    what = {"kind": "provider", "name": "stripe"}
    assert ann.post("/ops/v1/pauses", REASON | what).status_code == 201
    assert [row["name"] for row in ann.get("/ops/v1/providers").get_json()["pauses"]] == ["stripe"]
    assert ann.post("/ops/v1/pauses/lift", REASON | what).status_code == 200
    assert ann.post("/ops/v1/pauses/lift", REASON | what).status_code == 422
    assert ann.post("/ops/v1/pauses", REASON | what | {"name": "nobody"}).status_code == 404
    assert audited(sql, "pause.set") == audited(sql, "pause.lifted") == [by(ann)]


def test_a_merchant_and_its_keys_are_made_rotated_and_revoked(desk, app):
    root = desk("admin")
    merchant = root.post("/ops/v1/merchants", REASON | {"name": "Corner shop"}).get_json()["merchant_id"]
    asked = REASON | {"merchant": merchant, "scopes": ["payments:read"], "label": "till"}
    first = root.post("/ops/v1/keys", asked).get_json()
    second = root.post(f"/ops/v1/keys/{first['id']}/rotate", REASON | {"overlap_seconds": 0}).get_json()
    assert (second["replaces"], second["scopes"]) == (first["id"], ["payments:read"])
    keys = [Api(app.test_client(), merchant, parse_key(made["key"])) for made in (first, second)]
    assert [key.get("/v1/payments").status_code for key in keys] == [401, 200]
    assert root.post(f"/ops/v1/keys/{second['id']}/revoke", REASON).status_code == 200
    assert keys[1].get("/v1/payments").status_code == 401
    for wrong in ({"scopes": ["all"]}, {"allowed_from": ["x"]}, {"expires_at": "2020-01-01T00:00:00Z"}):
        assert root.post("/ops/v1/keys", asked | wrong).status_code == 422


def test_a_key_that_was_made_is_in_no_row_and_in_no_replay(desk, api, cluster, database):
    root = desk("admin")
    body, headers = REASON | {"merchant": str(api.merchant_id)}, {"Idempotency_Key": "the-same"}
    first, again = (root.post("/ops/v1/keys", body, **headers) for _ in range(2))
    secret = parse_key(first.get_json()["key"]).secret
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json() == first.get_json() | {"key": None}
    dump = [str(cluster.bin_dir / "pg_dump"), "--dbname", database.admin_url]
    assert secret not in subprocess.run(dump, capture_output=True, text=True, check=True).stdout


def test_the_same_key_of_two_people_is_two_keys(desk):
    a, b = desk("admin"), desk("admin")
    made = [who.post("/ops/v1/merchants", REASON | {"name": "X"}, Idempotency_Key="same") for who in (a, b, a)]
    names = [answer.get_json()["merchant_id"] for answer in made]
    assert names[0] == names[2] != names[1]
    other = a.post("/ops/v1/merchants", REASON | {"name": "Y"}, Idempotency_Key="same")
    assert other.get_json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [({}, {}, 422), ({"reason": ""}, {}, 422), ({"reason": "x" * 501}, {}, 422), ({"reason": 1}, {}, 422),
     ({"reason": "x", "by": "eve"}, {}, 422), (REASON, {"Idempotency_Key": ""}, 400),
     (REASON, {"X_CSRF_Token": ""}, 403), (REASON, {"Origin": "https://evil.example"}, 403),
     (REASON, {"Cookie": ""}, 401)],
)  # fmt: skip
def test_without_a_reason_a_key_or_our_own_page_nothing_is_done(desk, sql, body, headers, status):
    root = desk("admin")
    assert root.post("/ops/v1/merchants", {"name": "X"} | body, **headers).status_code == status
    assert sql.execute("select from merchants where name = 'X'").fetchall() == []


def test_every_post_but_signing_in_needs_a_reason():
    needing = {body.route for body in bodies() if "reason" in body.schema.get("required", ())}
    acts = {path for path, methods in document()["paths"].items() if path.startswith("/ops/") and "post" in methods}
    assert needing & acts == acts - {"/ops/v1/session"}


def test_a_discrepancy_is_looked_after_and_closed_for_a_reason(desk, sql):
    ann, p = desk("operator"), factories.payment(sql, "submitted")
    sql.execute("alter table discrepancies disable trigger user")
    sql.execute(
        "insert into discrepancies"
        " (merchant_id, type, severity, subject, payment_id, evidence_at, sla_due_at, detected_by)"
        " values (%(merchant_id)s, 'stale_state', 'medium', 'payment/' || %(id)s, %(id)s, now(), now(), 'clock')",
        p,
    )
    (found,) = ann.get("/ops/v1/discrepancies", status="open").get_json()["data"]
    assert found["payment"] == f"pay_{p['id'].hex}"
    path = f"/ops/v1/discrepancies/{found['id']}"
    looked = ann.post(f"{path}/acknowledge", REASON).get_json()
    assert (looked["status"], looked["acknowledged_by"]) == ("acknowledged", ann.name)
    closed = ann.post(f"{path}/resolve", REASON | {"code": "explained"}).get_json()
    assert (closed["status"], closed["resolved_by"]) == ("resolved", ann.name)
    assert ann.post(f"{path}/acknowledge", REASON).get_json()["code"] == "state_conflict"
    assert ann.post("/ops/v1/discrepancies/x/resolve", REASON | {"code": "x"}).status_code == 404


@pytest.mark.parametrize(
    "verb, body, done",
    [("adopt", {"amount": 1}, 409), ("refunds", {"amount": 1}, 201)],
)
def test_what_was_decided_on_another_version_of_a_payment_is_refused(desk, payment_in, verb, body, done):
    oli, (row, name) = desk("operator"), payment_in("confirmed")
    path, body = f"/ops/v1/payments/{name}/{verb}", body | {"reason": "they asked"}
    answer = oli.post(path, body, If_Match=f'"{row["version"] - 1}"')
    assert (answer.status_code, answer.get_json()["code"]) == (412, "precondition_failed")
    assert oli.post(path, body, If_Match=f'"{row["version"]}"').status_code == done
