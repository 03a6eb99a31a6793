"""Being signed in: for how long, and that nobody else's page can use it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.services import operators, sign_in
from tests import factories
from tests.fixtures.database import OPERATOR_KEY
from tests.gateway.ops.conftest import ORIGIN

PATH = "/ops/v1/session"
SEEN = "select clock_timestamp() - seen_at < interval '10 seconds' as now from operator_sessions"


def test_a_session_ends_when_nobody_was_answered_for_half_an_hour(desk, sql, settings, move):
    ann, shops = desk("admin"), "/ops/v1/merchants"
    for ask in (
        partial(ann.get, PATH),
        partial(ann.get, shops),
        partial(ann.post, shops, {"name": "x", "reason": "x"}),
    ):
        move("seen_at", settings.timing.session_idle * 0.8)
        assert ask().status_code in (200, 201)
        assert sql.execute(SEEN).fetchone() == {"now": True}
    move("seen_at", settings.timing.session_idle)
    assert ann.get(PATH).status_code == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [("access-log", 403), ("payments?limit=many", 422), ("payments/pay_x", 404)],
)
def test_what_is_refused_keeps_nobody_signed_in(desk, sql, settings, move, path, status):
    eve = desk("viewer")
    move("seen_at", settings.timing.session_idle * 0.8)
    answer = eve.open("GET", f"/ops/v1/{path}")
    assert (answer.status_code, sql.execute(SEEN).fetchone()) == (status, {"now": False})


def test_a_session_ends_after_half_a_day_however_busy(desk, settings, move):
    ann = desk()
    move("created_at", settings.timing.session_longest * 0.9)
    assert ann.get(PATH).status_code == 200
    move("created_at", settings.timing.session_longest)
    assert ann.get(PATH).status_code == 401


def test_a_session_that_ends_while_it_is_answered_stays_ended(desk, edge, settings, move):
    ann = desk()
    hmac = sign_in.token_hmac(ann.token, OPERATOR_KEY)

    def answer_slowly(tx):
        sign_in.enter(tx, hmac, settings.timing)
        move("seen_at", settings.timing.session_idle)
        sign_in.prolong(tx, hmac, settings.timing)

    edge.transact(factories.OPERATOR, answer_slowly)
    assert ann.get(PATH).status_code == 401


def act(verb, name, more, tx):
    return verb(tx, name, **more)


def test_who_is_disabled_or_reset_is_signed_out_at_once(desk, enroll, edge):
    for verb in (operators.disable, operators.reset):
        ann = desk()
        more = {"reason": "x"} | ({} if verb is operators.disable else {"proof": operators.new_proof("key")})
        assert ann.get(PATH).status_code == 200
        edge.transact(factories.OPERATOR, partial(act, verb, ann.name, more))
        assert ann.get(PATH).status_code == 401


@pytest.mark.parametrize(
    "changed",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ORIGIN + ".evil.example"}, {"Origin": ""},
     {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "é"}],
)  # fmt: skip
def test_a_change_from_another_page_is_refused(desk, changed):
    ann = desk()
    answer = ann.open("DELETE", PATH, headers=ann.headers() | changed)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "cross_site")
    assert ann.get(PATH).status_code == 200
    assert ann.open("DELETE", PATH).status_code == 200


def test_the_token_of_another_session_does_not_do(desk):
    ann, bob = desk(), desk()
    answer = ann.open("DELETE", PATH, headers=ann.headers() | {"X-CSRF-Token": bob.headers()["X-CSRF-Token"]})
    assert answer.status_code == 403


def test_a_key_of_a_merchant_opens_nothing_here(api):
    assert api.get(PATH).status_code == 401


def test_another_operator_key_signs_everybody_out_and_none_switches_it_off(desk, settings):
    ann = desk()
    for key, status in (("another", 401), ("", 503)):
        other = create_app(replace(settings, operator_key=key))
        try:
            assert other.test_client(use_cookies=False).get(PATH, headers=ann.headers()).status_code == status
        finally:
            other.extensions[EXTENSION].database.close()
