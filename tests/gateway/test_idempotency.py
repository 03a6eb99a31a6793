"""One answer per Idempotency-Key, however often and however concurrently it is sent."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.config import Timing
from app.db.pool import Timeouts
from app.services import idempotency
from tests import factories
from tests.gateway.conftest import CARD, Api, made
from tests.gateway.waiting import until_waiting

ROWS = """
    select (select count(*) from payments) as payments, (select count(*) from idempotency_keys) as keys,
           (select count(*) from events) as events,
           (select count(*) from audit_log where payment_id is not null) as audit,
           (select count(*) from deliveries) as deliveries, (select count(*) from procrastinate_jobs) as jobs
"""


# Longer than any other limit: what waits for a lock here gets it, however busy the machine.
PATIENT_LOCK = 60.0
HASTY_LOCK = 0.2


@pytest.fixture
def settings(settings, request):
    """Locks are waited for until they are free, but where the 409 is what the test is about."""
    return replace(settings, timing=replace(Timing(), idempotency_lock=getattr(request, "param", PATIENT_LOCK)))


def test_the_same_request_again_gives_the_same_bytes(api, sql):
    first, again = (api.post("/v1/payments", CARD, key="k") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.data == again.data
    assert first.content_type == again.content_type
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert set(sql.execute(ROWS).fetchone().values()) == {1}


def test_a_replay_tells_what_was_answered_not_what_is_now(api, sql):
    first = api.post("/v1/payments", CARD, key="k")
    api.post(f"/v1/payments/{first.get_json()['id']}/cancel")
    again = api.post("/v1/payments", CARD, key="k")
    assert again.get_json()["state"] == "initiated"
    assert again.data == first.data


def test_the_same_body_spelled_differently_is_the_same_request(api):
    spellings = (
        b'{"amount":1000,"currency":"usd","method":{"type":"card","token":"a"},"return_url":"https://a.example"}',
        b'{ "return_url": "https://a.example", "method": {"token": "\\u0061", "type": "card"}, "currency": "usd",'
        b' "amount": 1000 }',
    )
    first, again = (api.post_raw("/v1/payments", raw, key="k") for raw in spellings)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.data == again.data


def test_scenario_02_a_key_used_with_another_body_or_path_is_refused(api, sql):
    made = api.post("/v1/payments", CARD, key="k").get_json()
    for path, body in (("/v1/payments", CARD | {"amount": 2_000}), (f"/v1/payments/{made['id']}/cancel", CARD)):
        answer = api.post(path, body, key="k")
        assert answer.status_code == 422
        assert answer.get_json()["code"] == "idempotency_key_reused"
    assert set(sql.execute(ROWS).fetchone().values()) == {1}


def test_two_merchants_may_use_the_same_key(api, login):
    other = login()
    assert api.post("/v1/payments", CARD, key="k").data != other.post("/v1/payments", CARD, key="k").data


@pytest.fixture
def live(settings, api, sql):
    """The same merchant with a live key, at a deployment that moves real money."""
    key = replace(factories.api_key(sql, api.merchant_id, livemode=True), livemode=True)
    for app in made(replace(settings, livemode=True)):
        yield Api(app.test_client(), api.merchant_id, key)


def test_a_key_of_one_mode_answers_nobody_of_the_other(api, live, sql):
    """A merchant goes live within the week: the test payment must not be taken for the charge of a real one."""
    first = api.post("/v1/payments", CARD, key="k")
    again = replace(api, client=live.client).post("/v1/payments", CARD, key="k")
    assert (again.status_code, again.get_json()["code"]) == (403, "wrong_mode")
    charged = live.post("/v1/payments", CARD, key="k")
    assert (charged.status_code, charged.get_json()["code"]) == (422, "idempotency_key_reused")
    assert api.post("/v1/payments", CARD, key="k").data == first.data, "its own mode is answered as ever"
    assert set(sql.execute(ROWS).fetchone().values()) == {1}
    charged = [live.post("/v1/payments", CARD, key="another") for _ in range(2)]
    assert [answer.status_code for answer in charged] == [201, 201]
    assert charged[0].data == charged[1].data and charged[0].get_json()["livemode"] is True


@pytest.mark.parametrize(
    ("state", "verb", "status"),
    [("authorized", "capture", 202), ("initiated", "cancel", 200), ("confirmed", "refunds", 201)],
)
def test_what_was_done_to_a_test_payment_is_told_to_no_live_key(api, live, payment_in, state, verb, status):
    _, named = payment_in(state)
    path = f"/v1/payments/{named}/{verb}"
    first, again = (api.post(path, {}, key="k") for _ in range(2))
    assert (first.status_code, again.status_code, again.data) == (status, status, first.data)
    answer = live.post(path, {}, key="k")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "idempotency_key_reused")


def test_scenario_01_two_at_once_make_one_payment_and_get_the_same_bytes(api, sql, database):
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table payments in share mode")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(api.post, "/v1/payments", CARD, key="k") for _ in range(2)]
        until_waiting(sql, 2)  # one holds the key and waits for the table, the other waits for the key
        blocker.commit()
        answers = [future.result() for future in running]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].data == answers[1].data
    assert sorted(answer.headers.get("Idempotency-Replayed", "") for answer in answers) == ["", "true"]
    assert set(sql.execute(ROWS).fetchone().values()) == {1}


def test_many_at_once_make_one_payment(api, sql):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/payments", CARD, key="k"), range(24)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert set(sql.execute(ROWS).fetchone().values()) == {1}


def _hold_key(connection, api):
    connection.execute(
        "insert into idempotency_keys (merchant_id, key, fingerprint) values (%s, 'k', sha256('x'))", [api.merchant_id]
    )


@pytest.mark.parametrize("settings", [HASTY_LOCK], indirect=True)
def test_a_request_still_running_after_the_lock_wait_is_a_409(api, sql, database):
    holder = database.connect(admin=True, autocommit=False)
    _hold_key(holder, api)
    asked_at = time.monotonic()
    answer = api.post("/v1/payments", CARD, key="k")
    assert time.monotonic() - asked_at < Timeouts().lock / 1000, "the key's own limit, not that of other locks"
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert answer.get_json()["code"] == "idempotency_key_in_use"
    holder.rollback()
    assert api.post("/v1/payments", CARD, key="k").status_code == 201


def test_who_waits_for_a_request_that_is_rolled_back_owns_the_key(api, sql, database):
    holder = database.connect(admin=True, autocommit=False)
    _hold_key(holder, api)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(api.post, "/v1/payments", CARD, key="k")
        until_waiting(sql, 1)
        holder.rollback()
        answer = running.result()
    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/payments/pay_x/capture", "/v1/payments/pay_x/cancel"])
def test_scenario_03_every_post_needs_a_key(api, path):
    answer = api.client.post(path, json=CARD, headers={"Authorization": f"Bearer {api.key.text()}"})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("key", ["a b", "k" * 256, "é", "\t"])
def test_a_key_that_is_not_visible_ascii_is_refused(api, key):
    answer = api.post("/v1/payments", CARD, key=key)
    assert answer.status_code == 400
    assert answer.get_json()["code"] in ("idempotency_key_malformed", "idempotency_key_missing")


@pytest.mark.parametrize("refused", [CARD | {"amount": 1}, CARD | {"amount": "1000"}])
def test_a_refusal_leaves_the_key_free(api, sql, refused):
    assert api.post("/v1/payments", refused, key="k").status_code == 422
    assert set(sql.execute(ROWS).fetchone().values()) == {0}
    assert api.post("/v1/payments", CARD, key="k").status_code == 201


def test_scenario_04_a_crash_after_the_insert_leaves_nothing(api, sql, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "keep", crash)
        answer = api.post("/v1/payments", CARD, key="k")
    assert answer.status_code == 500
    assert "gone" not in answer.text
    assert set(sql.execute(ROWS).fetchone().values()) == {0}
    assert api.post("/v1/payments", CARD, key="k").status_code == 201
