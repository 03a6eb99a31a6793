"""What operators look at: found by any identifier, page by page, and noted with whose rows were shown."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from functools import partial

import pytest

from app.db import Tx
from app.gateway.cursor import after_row
from app.gateway.ops.reading import ENTITY_LENGTH
from app.services import operator_pages
from tests import factories
from tests.gateway.conftest import CARD
from tests.gateway.documented import document
from tests.gateway.test_webhooks import EVENT, send
from tests.sql.refusal import answer as refusal

PLATFORM = uuid.UUID(int=0)
VISA = "4242424242424242"


def found(desk, **query):
    answer = desk.get("/ops/v1/payments", **query)
    assert answer.status_code == 200, answer.text
    return answer.get_json()["data"]


def log(sql, **where):
    rows = sql.execute(
        "select operator, role, host(address) as address, route, entity, merchant_id, result, row_count from access_log"
        " order by seen_at, merchant_id"
    ).fetchall()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def dead_letter(sql, payment):
    with factories.acting(sql, "worker"):
        return sql.execute(
            "update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures',"
            " job_id = null where payment_id = %(id)s returning event_id || ':' || handler as id",
            payment,
        ).fetchone()["id"]


def test_a_payment_is_found_by_any_identifier_whoevers_it_is(desk, api, sql):
    ann = desk("viewer")
    made = api.post("/v1/payments", CARD | {"reference": "order-77"}, key="merchants-key").get_json()
    p = factories.payment(sql, "settled")
    name = f"pay_{p['id'].hex}"
    for query, payment in [
        (made["id"], made["id"]), ("order-77", made["id"]), ("merchants-key", made["id"]), (str(p["id"]), name),
        (p["provider_ref"], name), (p["latest_charge_ref"], name),
    ]:  # fmt: skip
        assert [row["payment"] for row in found(ann, query=query)] == [payment], query
    event = sql.execute("select id from events where payment_id = %(id)s limit 1", p).fetchone()["id"]
    assert found(ann, query=f"evt_{event.hex}")[0]["recognised"] == "event"
    assert found(ann, query="nothing-of-the-kind") == []


def test_pages_lead_through_all_payments_newest_first_and_end(desk, sql):
    ann, merchant = desk("viewer"), factories.merchant(sql)["id"]
    made = [factories.payment(sql, merchant_id=merchant)["id"] for _ in range(5)]
    factories.payment(sql)
    seen, cursor = [], None
    for size in (2, 2, 1):
        query = {"limit": 2, "merchant": str(merchant)} | ({"cursor": cursor} if cursor else {})
        body = ann.get("/ops/v1/payments", **query).get_json()
        assert len(body["data"]) == size
        seen, cursor = seen + [row["payment"] for row in body["data"]], body["next_cursor"]
    assert cursor is None
    assert seen == [f"pay_{identity.hex}" for identity in reversed(made)]
    assert ann.get("/ops/v1/payments", cursor="WyJvL2tleXMiXQ").status_code == 422


def test_a_cursor_names_a_row_as_its_list_does(desk):
    admin, at, key, row = desk("admin"), datetime.now(UTC), "0" * 16, str(uuid.uuid4())
    for kind in ("dead-letters", "discrepancies", "access-log", "payments", "proposals", "merchants", "webhooks"):
        answers = [admin.get(f"/ops/v1/{kind}", cursor=after_row(kind, at, by)).status_code for by in (row, key)]
        assert answers == [200, 422], kind
    answers = [admin.get("/ops/v1/keys", cursor=after_row("keys", at, by)).status_code for by in (row, key)]
    assert answers == [422, 200]


def through_pages(desk, path, **query):
    """Every row of a list, two at a time; of the query, what is not None."""
    query, rows, cursor = {name: value for name, value in query.items() if value}, [], None
    while True:
        body = desk.get(path, limit=2, **query, **({"cursor": cursor} if cursor else {})).get_json()
        rows, cursor = rows + body["data"], body["next_cursor"]
        if cursor is None:
            return rows


def test_pages_of_every_state_lead_through_all_merchants_newest_first(desk, sql):
    ann, merchants = desk("viewer"), [factories.merchant(sql)["id"] for _ in range(4)]
    places = ["failed", "initiated", "failed", "confirmed", "initiated", "failed", "canceled"]
    made = [
        (state, factories.payment(sql, state, merchant_id=merchants[n % 4])["id"]) for n, state in enumerate(places)
    ]
    for state in (None, *places):
        shown = [
            row["payment"] for row in through_pages(ann, "/ops/v1/payments", **({"state": state} if state else {}))
        ]
        assert shown == [f"pay_{id_.hex}" for was, id_ in reversed(made) if state in (None, was)], state


@pytest.mark.parametrize(("state", "then"), [("initiated", "submitting"), ("confirmed", "settled")])
def test_a_page_of_a_state_shows_each_payment_in_it_though_it_moves_meanwhile(edge, sql, monkeypatch, state, then):
    p, asked = factories.payment(sql, state), Tx.all

    def moved_after(tx, query, **params):
        rows = asked(tx, query, **params)
        p.update(p if p["state"] == then else factories.advance(sql, p, then))
        return rows

    monkeypatch.setattr(Tx, "all", moved_after)
    page = partial(operator_pages.payments, merchant_id=p["merchant_id"], state=state, before=None, limit=2)
    assert [row["state"] for row in edge.transact(factories.OPERATOR, page)] == [state]
    assert edge.transact(factories.OPERATOR, page) == []


def test_pages_of_webhooks_lead_through_all_and_through_those_of_a_type(app, desk):
    ann, types = desk("viewer"), ["charge.updated", EVENT["type"], "charge.updated", "charge.updated"]
    for n, kind in enumerate(types):
        assert send(app, EVENT | {"id": f"evt_page_{n}", "type": kind}).status_code == 200
    for kind in (None, *types):
        shown = through_pages(ann, "/ops/v1/webhooks", type=kind)
        assert [row["provider_event_id"] for row in shown] == [
            f"evt_page_{n}" for n in reversed(range(4)) if kind in (None, types[n])
        ]


def test_pages_of_discrepancies_lead_through_all_and_through_those_of_a_status(desk, sql):
    ann, merchant = desk("viewer"), factories.merchant(sql)["id"]
    statuses = ["open", "acknowledged", "open", "open"]
    sql.execute("alter table discrepancies disable trigger user")
    sql.execute(
        "insert into discrepancies (merchant_id, type, severity, status, acknowledged_by, acknowledged_at, subject,"
        " first_seen_at, evidence_at, sla_due_at, detected_by)"
        " select %s, 'stale_state', 'medium', status, case status when 'acknowledged' then 'ann' end,"
        " case status when 'acknowledged' then now() end, 'number/' || n, now() + make_interval(secs => n / 2),"
        " now(), now(), 'clock' from unnest(%s::text[]) with ordinality as of (status, n)",
        [merchant, statuses],
    )
    for status in (None, *statuses):
        shown = through_pages(ann, "/ops/v1/discrepancies", status=status, merchant=str(merchant))
        # those of one moment in the order of their ids
        assert sorted(row["subject"] for row in shown) == [
            f"number/{n}" for n, its in enumerate(statuses, 1) if status in (None, its)
        ]
        assert shown == sorted(shown, key=lambda row: (row["first_seen_at"], row["id"]), reverse=True)


def test_a_payment_is_shown_and_told_as_the_command_line_does(desk, sql):
    ann, p = desk("viewer"), factories.payment(sql, "settled")
    path = f"/ops/v1/payments/pay_{p['id'].hex}"
    sheet = ann.get(path).get_json()
    assert (sheet["state"], sheet["captured"], sheet["merchant_id"]) == ("settled", 1_000, str(p["merchant_id"]))
    story = ann.get(f"{path}/trace").get_json()["data"]
    assert [row["to_state"] for row in story if row["to_state"] and row["source"] == "history"][-1] == "settled"
    assert all(row["hash_ok"] in (True, None) for row in story)
    for wrong in (f"pay_{uuid.uuid4().hex}", "pay_x", "x"):
        assert ann.get(f"/ops/v1/payments/{wrong}").status_code == 404
        assert ann.get(f"/ops/v1/payments/{wrong}/trace").status_code == 404


def test_dead_letters_are_listed_and_shown_with_what_a_replay_would_do(desk, sql):
    ann = desk("viewer")
    ids = [dead_letter(sql, factories.payment(sql)) for _ in range(3)]
    first = ann.get("/ops/v1/dead-letters", limit=2).get_json()
    second = ann.get("/ops/v1/dead-letters", limit=2, cursor=first["next_cursor"]).get_json()
    assert [row["id"] for row in first["data"] + second["data"]] == ids
    assert second["next_cursor"] is None
    for name in (first["data"][0]["letter"], ids[0]):
        sheet = ann.get(f"/ops/v1/dead-letters/{name}").get_json()
        assert (sheet["id"], sheet["replay"]["provider_call"]) == (ids[0], "send")
    assert ann.get("/ops/v1/dead-letters/nothing").status_code == 404


def test_webhooks_merchants_keys_people_and_figures_are_shown(app, desk, api, sql):
    ann = desk("viewer")
    assert send(app, EVENT).status_code == 200
    (webhook,) = ann.get("/ops/v1/webhooks", provider_event_id=EVENT["id"]).get_json()["data"]
    assert ann.get(f"/ops/v1/webhooks/{webhook['id']}").get_json() == webhook
    assert (webhook["status"], webhook["type"]) == ("pending", EVENT["type"])
    merchants = ann.get("/ops/v1/merchants").get_json()["data"]
    assert [row["merchant_id"] for row in merchants] == [str(api.merchant_id)]
    (key,) = ann.get("/ops/v1/keys", merchant=str(api.merchant_id)).get_json()["data"]
    assert key["id"] == api.key.id and api.key.secret not in str(key)
    assert ann.get("/ops/v1/status").get_json()["attention"] == []
    assert ann.get("/ops/v1/providers").get_json()["pauses"] == []
    assert ann.get("/ops/v1/discrepancies").get_json()["data"] == []
    assert ann.name in {row["name"] for row in ann.get("/ops/v1/operators").get_json()["data"]}


def test_what_was_shown_is_noted_once_per_merchant(desk, sql):
    ann = desk("viewer")
    a, b = (factories.payment(sql, reference="same") for _ in range(2))
    factories.payment(sql, merchant_id=a["merchant_id"], reference="same")
    found(ann, query="same")
    who = {"operator": ann.name, "role": "viewer", "address": "127.0.0.1", "route": "/ops/v1/payments", "result": "ok"}
    assert log(sql) == [
        who | {"entity": "query=same", "merchant_id": merchant, "row_count": count}
        for merchant, count in sorted([(a["merchant_id"], 2), (b["merchant_id"], 1)])
    ]


def test_what_was_not_shown_is_noted_too(desk):
    ann, eve = desk("compliance"), desk("viewer")
    eve.get("/ops/v1/payments/pay_x")
    eve.get("/ops/v1/access-log")
    eve.get("/ops/v1/status")
    eve.get("/ops/v1/payments", limit="many", own="x")
    eve.get("/ops/v1/dead-letters", cursor="not-ours")
    rows = ann.get("/ops/v1/access-log", operator=eve.name).get_json()["data"]
    assert {(row["row_count"], row["merchant_id"]) for row in rows} == {(0, str(PLATFORM))}
    assert [(row["route"], row["entity"], row["result"]) for row in rows] == [
        ("/ops/v1/dead-letters", "cursor", "invalid"),
        ("/ops/v1/payments", "limit", "invalid"),
        ("/ops/v1/status", None, "ok"),
        ("/ops/v1/access-log", None, "role_refused"),
        ("/ops/v1/payments/{payment_id}", "pay_x", "not_found"),
    ]


def test_no_card_number_is_noted_and_no_query_that_there_is_not(desk, sql):
    ann = desk("viewer")
    for path, query, entity in [
        (f"/ops/v1/payments/{VISA}", {"note": "x"}, "(card number)"),
        ("/ops/v1/dead-letters/42424242%0042424242", {}, "(card number)"),
        (f"/ops/v1/dead-letters/{'x' * (ENTITY_LENGTH - 16)}{VISA}0", {}, "(card number)"),
        ("/ops/v1/dead-letters", {"handler": "x"}, "handler=x"),
        ("/ops/v1/access-log", {"cursor": VISA}, "cursor=(card number)"),
        ("/ops/v1/status", {"note": VISA, VISA: "x"}, None),
    ]:
        ann.get(path, **query)
        assert log(sql, operator=ann.name)[-1]["entity"] == entity, path


def test_no_answer_tells_back_what_there_is_not(desk, sql):
    ann, letter = desk("admin"), dead_letter(sql, factories.payment(sql))
    assert ann.post(f"/ops/v1/dead-letters/{letter}/replay", {"reason": "it can go"}).status_code == 200
    gone = ann.post(f"/ops/v1/dead-letters/{letter}/replay", {"reason": "it can go"}).get_json()
    assert gone["detail"] == "It is no dead letter, or not any more: nothing to do."
    for path in (f"/ops/v1/dead-letters/{VISA}", f"/ops/v1/discrepancies/{uuid.UUID(int=7)}"):
        assert ann.get(path).get_json()["detail"] == "No such object."


def test_every_get_of_a_person_is_noted(app, desk, sql):
    ann = desk("admin")
    for route in sorted(path for path, methods in document()["paths"].items() if "/ops/" in path and "get" in methods):
        before = len(log(sql, route=route))
        assert ann.get(re.sub(r"\{[^}]+\}", "nothing", route)).status_code in (200, 404)
        assert len(log(sql, operator=ann.name, route=route)) == before + 1, route


@pytest.mark.parametrize("role", ["api", "worker", "operator", "system"])
def test_the_access_log_is_append_only(conn, role):
    conn.execute(
        "insert into access_log values (%s, default, default, 'ann', 'x', null, null, 'r', null, 'ok', 0)", [PLATFORM]
    )
    for statement in ("update access_log set operator = 'eve'", "delete from access_log"):
        assert refusal(conn, statement, actor=role) in ("42501", "PB004")
