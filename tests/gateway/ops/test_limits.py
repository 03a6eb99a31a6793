"""A person at /ops/v1 and an address that signs in have buckets like keys; a refused sign-in is audited, bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.config import Rate
from tests import factories
from tests.gateway.ops.conftest import Desk, open_session
from tests.gateway.ops.test_sign_in import enter, knock

MERCHANTS = "/ops/v1/merchants"


pytestmark = pytest.mark.usefixtures("still")


@pytest.fixture
def settings(settings):
    small = {"operator_read": Rate(1, 3), "operator_write": Rate(1, 2), "sign_in": Rate(1, 2)}
    return replace(settings, rates=replace(settings.rates, **small))


def test_a_person_has_one_bucket_for_reads_and_one_for_writes(desk):
    admin, other = desk("admin"), desk("admin")
    answers = [admin.get(MERCHANTS) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert answers[0].headers["RateLimit-Policy"] == '"operator-read";q=3;w=3'
    assert (answers[3].get_json()["code"], answers[3].headers["Retry-After"]) == ("rate_limited", "1")
    made = {"name": "A shop", "reason": "asked for"}
    assert [admin.post(MERCHANTS, made).status_code for _ in range(3)] == [201] * 2 + [429]
    assert other.get(MERCHANTS).status_code == 200


def test_who_is_only_turned_away_is_not_kept_signed_in(desk, sql, settings, move):
    admin = desk("admin")
    assert [admin.get(MERCHANTS).status_code for _ in range(3)] == [200] * 3
    move("seen_at", settings.timing.session_idle * 0.8)
    assert [admin.get(path).status_code for path in (MERCHANTS, "/ops/v1/session")] == [429] * 2
    assert sql.execute("select from operator_sessions where seen_at > now() - interval '1 minute'").fetchall() == []


def test_a_second_session_of_a_person_is_no_second_bucket(app, desk, edge, sql):
    first = desk("viewer")
    second = Desk(app, first.name, open_session(edge, "viewer"))
    sql.execute("alter table operator_sessions disable trigger all")
    sql.execute("update operator_sessions set operator_id = (select id from operators where name = %s)", [first.name])
    sql.execute("alter table operator_sessions enable always trigger operator_sessions_500_audit")
    answers = [who.get(MERCHANTS).status_code for who in (first, second, first, second)]
    assert answers == [200] * 3 + [429]


def test_many_at_once_get_what_the_bucket_holds(desk):
    admin = desk("admin")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: admin.get(MERCHANTS).status_code, range(16)))
    assert sorted(answers) == [200] * 3 + [429] * 13


def test_a_stranger_spends_nothing_and_leaves_no_row(app, desk, sql):
    known = desk("viewer")
    stranger = Desk(app, "nobody", "no-such-token")
    assert [stranger.get(MERCHANTS).status_code for _ in range(5)] == [401] * 5
    assert sql.execute("select from rate_limits where scope = 'operator'").fetchall() == []
    assert known.get(MERCHANTS).status_code == 200


def test_an_address_signs_in_so_often_and_another_is_free(app, enroll):
    ann = enroll(name="ann")
    answers = [knock(app, f"name-{n}", "x", "000000", address="198.51.100.7") for n in range(3)]
    assert [answer.get_json()["code"] for answer in answers] == ["sign_in_refused"] * 2 + ["rate_limited"]
    assert "RateLimit" not in answers[0].headers and "Retry-After" in answers[2].headers
    assert enter(app, ann, address="198.51.100.8").status_code == 200


def audited(sql):
    return sql.execute(
        "select action, entity_id, body::jsonb ->> 'address' as address from audit_log"
        " where action like 'operator.sign_in_%' order by recorded_at"
    ).fetchall()


def test_a_refused_and_a_blocked_sign_in_are_audited_under_a_known_name_only(app, enroll, sql):
    enroll(name="ann")
    knock(app, "ann", "wrong", "000000", address="198.51.100.7")
    knock(app, "secret-typed-as-a-name", "wrong", "000000", address="198.51.100.8")
    sql.execute("update sign_in_failures set free_at = free_at + interval '1 hour', told_at = '-infinity'")
    assert knock(app, "ann", "wrong", "000000", address="198.51.100.9").status_code == 429
    assert audited(sql) == [
        {"action": "operator.sign_in_refused", "entity_id": "ann", "address": "198.51.100.7"},
        {"action": "operator.sign_in_refused", "entity_id": "unknown", "address": "198.51.100.8"},
        {"action": "operator.sign_in_blocked", "entity_id": "ann", "address": "198.51.100.9"},
    ]
    assert "secret-typed" not in str(sql.execute("select * from audit_log").fetchall())


@pytest.mark.parametrize("names", [["ann"] * 20, [f"nobody-{n}" for n in range(20)]], ids=["one person", "strangers"])
def test_of_many_refusals_in_a_second_one_is_audited_and_the_next_says_how_many(sql, enroll, names):
    enroll(name="ann")
    note = "select note_refused_sign_in(name, '198.51.100.7', 'refused') from unnest(%s::text[]) as name"
    with factories.acting(sql, "api"):
        sql.execute(note, [names])
    assert len(audited(sql)) == 1
    sql.execute("update sign_in_failures set told_at = told_at - interval '1 second'")
    with factories.acting(sql, "api"):
        sql.execute(note, [names[:1]])
    bodies = sql.execute("select body::jsonb ->> 'others_since_the_last' as n from audit_log where body ~ 'others'")
    assert [row["n"] for row in bodies] == ["0", "19"]
