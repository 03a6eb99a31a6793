"""How much a key and a merchant may ask for: exact over all processes, spent before the work, told in every answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from app.config import Rate, Rates, SettingsError, load_settings
from app.db.queries import QUERIES
from app.services import payments
from app.services.rate_limits import MICRO, Bucket
from tests import factories
from tests.fixtures.database import KEY_PEPPER
from tests.gateway.conftest import CARD, Api
from tests.gateway.test_errors import assert_problem
from tests.gateway.test_server import serving
from tests.gateway.test_webhooks import EVENT, PATH, signed

# A token per second: slower than a test, so that what is left is a whole number of them.
SLOW = 1
LISTED = "/v1/payments"


@pytest.fixture
def settings(settings):
    """Three writes and four reads of a key, five and six of its merchant."""
    rates = Rates(Rate(SLOW, 4), Rate(SLOW, 3), Rate(SLOW, 6), Rate(SLOW, 5))
    return replace(settings, rates=rates)


def statuses(ask, times: int) -> list[int]:
    return [ask().status_code for _ in range(times)]


def buckets(sql) -> dict[tuple[str, str], int]:
    rows = sql.execute("select scope, class, tokens_micro from rate_limits").fetchall()
    return {(row["scope"], row["class"]): row["tokens_micro"] / MICRO for row in rows}


def test_a_burst_is_allowed_and_what_is_over_it_is_a_429_that_says_when_to_come_back(api, still):
    assert statuses(lambda: api.post(LISTED, CARD), 3) == [201] * 3
    refused = api.post(LISTED, CARD)
    assert_problem(refused, 429, "rate_limited")
    assert refused.headers["Retry-After"] == "1"


def test_a_refusal_does_nothing_and_takes_nothing(api, still, sql):
    assert statuses(lambda: api.post(LISTED, CARD, key="same"), 3) == [201] * 3
    before = buckets(sql)
    assert api.post(LISTED, CARD, key="another").status_code == 429
    assert buckets(sql) == before == {("key", "write"): 0, ("merchant", "write"): 2}
    assert sql.execute("select key from idempotency_keys").fetchall() == [{"key": "same"}]


def test_a_token_is_spent_whatever_becomes_of_the_request(api, still, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(payments, "create", crash)
    assert api.post(LISTED, CARD).status_code == 500
    assert api.post_raw(LISTED, b"{").status_code == 400
    assert api.post(LISTED, {}).status_code == 422
    assert api.post(LISTED, CARD).status_code == 429


def test_a_replay_costs_a_token_too(api, still):
    assert statuses(lambda: api.post(LISTED, CARD, key="k"), 4) == [201, 201, 201, 429]


def test_reads_and_writes_are_apart(api, still):
    assert statuses(lambda: api.post(LISTED, CARD), 4)[-1] == 429
    assert statuses(lambda: api.get(LISTED), 5) == [200] * 4 + [429]


def test_the_key_binds_and_then_the_merchant_and_no_other_merchant(api, login, still, sql):
    second = Api(api.client, api.merchant_id, factories.api_key(sql, api.merchant_id))
    other = login()
    assert statuses(lambda: api.post(LISTED, CARD), 4) == [201] * 3 + [429]
    assert statuses(lambda: second.post(LISTED, CARD), 3) == [201] * 2 + [429]
    assert buckets(sql)["merchant", "write"] == 0
    assert statuses(lambda: other.post(LISTED, CARD), 3) == [201] * 3


def test_a_stranger_with_the_id_of_a_key_spends_nothing_and_leaves_no_row(api, still, sql):
    thief = Api(api.client, api.merchant_id, replace(api.key, secret="0" * 43))
    answers = [thief.post(LISTED, CARD) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {401}
    assert not [name for answer in answers for name, _ in answer.headers if name.startswith("RateLimit")]
    assert buckets(sql) == {}
    assert api.post(LISTED, CARD).status_code == 201


def test_webhooks_and_probes_are_not_limited(app, sql):
    client, raw = app.test_client(), json.dumps(EVENT).encode()
    assert {client.get("/readyz").status_code for _ in range(10)} == {200}
    taken = [client.post(PATH, data=raw, headers=signed(raw)) for _ in range(10)]
    assert {(answer.status_code, answer.headers.get("RateLimit")) for answer in taken} == {(200, None)}
    assert buckets(sql) == {}


def test_every_answer_to_a_good_key_tells_what_is_left(api, still):
    policy = '"key-write";q=3;w=3, "merchant-write";q=5;w=5'
    for left, answer in zip((2, 1, 0, 0), [api.post(LISTED, CARD) for _ in range(4)], strict=True):
        assert answer.headers["RateLimit-Policy"] == policy
        full = 3 - left
        assert answer.headers["RateLimit"] == f'"key-write";r={left};t={full}, "merchant-write";r={left + 2};t={full}'
    nothing = api.get("/v1/payments/pay_" + "0" * 32)
    assert (nothing.status_code, nothing.headers["RateLimit"]) == (404, '"key-read";r=3;t=1, "merchant-read";r=5;t=1')


@pytest.mark.parametrize(
    "left, per_second, burst, whole, to_next, to_full",
    [
        (0, 1, 5, 0, 1, 5), (0, 100, 200, 0, 1, 2), (MICRO - 1, 1, 5, 0, 1, 5), (MICRO, 1, 5, 1, 0, 4),
        (2 * MICRO - 1, 3, 5, 1, 0, 2), (5 * MICRO, 1, 5, 5, 0, 0), (0, 7, 10, 0, 1, 2),
    ],
)  # fmt: skip
def test_what_the_headers_say_is_rounded_to_the_safe_side(left, per_second, burst, whole, to_next, to_full):
    bucket = Bucket("key", Rate(per_second, burst), left >= MICRO, left)
    assert (bucket.whole, bucket.seconds_to_next, bucket.seconds_to_full) == (whole, to_next, to_full)


@pytest.mark.parametrize(
    "held, seconds, rate, burst, holds",
    [
        (0, "1 microsecond", 7, 100, 7), (0, "1 second", 100, 200, 100 * MICRO), (0, "1 hour", 100, 200, 200 * MICRO),
        (5, "0", 1, 1, 5), (5, "-1 hour", 1, 1, 5), (0, "1000 years", 999_999_999, 999_999_999, 999_999_999 * MICRO),
    ],
)  # fmt: skip
def test_a_bucket_fills_by_the_microsecond_and_never_over(conn, held, seconds, rate, burst, holds):
    query = "select tokens_at(%s, '2030-01-01', timestamptz '2030-01-01' + %s::interval, %s, %s) as held"
    assert conn.execute(query, [held, seconds, rate, burst]).fetchone() == {"held": holds}


def test_a_bucket_fills_again_when_the_clock_that_had_gone_ahead_is_set_back(conn):
    merchant = factories.merchant(conn)["id"]
    take = "select * from take_from_bucket(%s, 'merchant', %s::text, 'read', 1000, 1)"
    assert conn.execute(take, [merchant, merchant]).fetchone()["allowed"]
    conn.execute("update rate_limits set tokens_micro = 0, updated_at = clock_timestamp() + interval '1 hour'")
    assert not conn.execute(take, [merchant, merchant]).fetchone()["allowed"], "what was spent is spent"
    found = conn.execute("select clock_timestamp() - updated_at as since from rate_limits").fetchone()
    assert found["since"].total_seconds() >= 0
    conn.execute("update rate_limits set updated_at = updated_at - interval '2 milliseconds'")
    assert conn.execute(take, [merchant, merchant]).fetchone()["allowed"]


def test_a_refusal_is_counted(app, api, still):
    name = 'postbox_rate_limited_total{class="write",scope="key"}'

    def count() -> float:
        lines = app.test_client().get("/metrics").text.splitlines()
        return float(next((line.split()[-1] for line in lines if line.startswith(name)), 0))

    before = count()
    statuses(lambda: api.post(LISTED, CARD), 5)
    assert count() == before + 2


@pytest.mark.parametrize("text", ["100", "0/1", "1/0", "-1/1", "1.5/2", "1/2/3", "1000000000/1", "a/b"])
def test_a_rate_is_two_whole_numbers_above_nought(text):
    with pytest.raises(SettingsError, match="POSTBOX_RATE_KEY_WRITE"):
        load_settings({"DATABASE_URL": "x", "POSTBOX_RATE_KEY_WRITE": text})


def test_every_rate_has_a_setting_of_its_own():
    names = ("KEY_READ", "KEY_WRITE", "MERCHANT_READ", "MERCHANT_WRITE")
    env = {f"POSTBOX_RATE_{name}": f"{n}/{n * 10}" for n, name in enumerate(names, 1)}
    found = load_settings({"DATABASE_URL": "x"} | env).rates
    assert found == Rates(Rate(1, 10), Rate(2, 20), Rate(3, 30), Rate(4, 40))


# So few per second that the clients of a slow machine ask for more: a full bucket would lose what comes.
CLIENTS, SECONDS, RATE, BURST = 64, 10.0, 10, 40


def test_64_clients_on_one_bucket_over_four_processes_get_the_burst_and_the_rate_and_no_more(database, sql, tmp_path):
    """t is the database's: from the first take to the last, as a trigger of the test saw the bucket's own clock."""
    sql.execute(f"""
        create table postbox.takes (at timestamptz, left_micro bigint);
        grant insert on postbox.takes to postbox_owner;
        create function postbox.note_take() returns trigger language plpgsql as $$ begin
          insert into postbox.takes values (new.updated_at, new.tokens_micro); return null; end $$;
        grant execute on function postbox.note_take to postbox_owner;
        create trigger note_take after update on rate_limits for each row when (new.scope = 'merchant'
          and new.tokens_micro < tokens_at(old.tokens_micro, old.updated_at, new.updated_at, {RATE}, {BURST}))
          execute function postbox.note_take();
        create trigger note_first_take after insert on rate_limits for each row when (new.scope = 'merchant')
          execute function postbox.note_take();
    """)
    merchant = factories.merchant(sql)
    keys = [factories.api_key(sql, merchant["id"]).text() for _ in range(4)]
    env = {"WEB_CONCURRENCY": "4", "POSTBOX_WEB_THREADS": "4", "POSTBOX_API_POOL_SIZE": "4"}
    with serving(database, tmp_path, POSTBOX_RATE_MERCHANT_READ=f"{RATE}/{BURST}", **env) as server:
        ready = threading.Barrier(CLIENTS)

        def ask(number: int) -> list[int]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("GET", "/readyz")
            connection.getresponse().read()
            ready.wait()
            seen, until = [], time.monotonic() + SECONDS
            while time.monotonic() < until:
                connection.request("GET", LISTED, headers={"Authorization": f"Bearer {keys[number % len(keys)]}"})
                answer = connection.getresponse()
                answer.read()
                seen.append(answer.status)
            connection.close()
            return seen

        with ThreadPoolExecutor(CLIENTS) as pool:
            seen = [status for part in pool.map(ask, range(CLIENTS)) for status in part]
    takes = sql.execute("select at, left_micro from takes order by at, left_micro desc").fetchall()
    allowed = seen.count(200)
    assert set(seen) == {200, 429}
    assert allowed == len(takes)
    took = (takes[-1]["at"] - takes[0]["at"]).total_seconds()
    assert took > SECONDS / 2
    assert abs(allowed - (BURST + RATE * took)) <= 1
    # And to the millionth of a token: what was allowed and what is left is what there was and what came.
    came = sum((later["at"] - one["at"]).total_seconds() for one, later in pairwise(takes))
    assert allowed * MICRO + takes[-1]["left_micro"] == pytest.approx(BURST * MICRO + RATE * came * MICRO, abs=1)


def test_one_take_is_one_statement_in_a_transaction_of_its_own(api, sql, monkeypatch):
    """The payment's transaction fails, and the bucket, whose transaction ended before, does not give back."""
    monkeypatch.setitem(QUERIES, "payments.create", "select 1 / 0")
    assert api.post(LISTED, CARD).status_code == 500
    row = sql.execute("select count(distinct xmin::text) as n, sum(tokens_micro) as left from rate_limits").fetchone()
    assert (row["n"], row["left"]) == (1, 6 * MICRO)


def test_a_bucket_is_found_at_once_though_an_old_snapshot_sees_what_it_was(api, sql, database):
    take = {"key_id": api.key.id, "secret_hmac": api.key.hmac(KEY_PEPPER), "class_": "write", "address": None}
    rates = {"key_rate": SLOW, "key_burst": 3, "merchant_rate": SLOW, "merchant_burst": 5}
    sql.execute(QUERIES["rate_limits.take"], take | rates)
    snapshot = database.connect(admin=True, autocommit=False)
    snapshot.execute("set transaction isolation level repeatable read")
    snapshot.execute("select count(*) from rate_limits")
    # as half an hour with a request in every second leaves it
    sql.execute("do $$ begin for n in 1..1800 loop update rate_limits set taken_in = taken_in + 1; end loop; end $$")
    before = entries_read(sql)
    assert [row["allowed"] for row in sql.execute(QUERIES["rate_limits.take"], take | rates)] == [True, True]
    assert entries_read(sql) - before < 20


def entries_read(sql) -> int:
    """How many entries of the indexes of buckets were read so far, the dead ones too."""
    sql.execute("select pg_stat_force_next_flush()")
    row = sql.execute(
        "select sum(idx_tup_read) as n from pg_stat_user_indexes where relname = 'rate_limits'"
    ).fetchone()
    return int(row["n"])
