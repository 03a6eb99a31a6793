"""Signing in: who they say they are is proven twice, a stranger learns nothing, and guessing gets slow."""

from __future__ import annotations

import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.model import password, second_factor
from app.services import operators, sign_in
from tests import factories
from tests.fixtures.database import OPERATOR_KEY
from tests.gateway.ops.conftest import ORIGIN

PATH = "/ops/v1/session"
HOUR = 3_600


def knock(app, name, secret_word, code, *, address="127.0.0.1", **headers):
    body = {"name": name, "password": secret_word, "code": code}
    named = {"Origin": ORIGIN, "X-Request-Id": "same"} | headers
    environ = {"REMOTE_ADDR": address}
    return app.test_client(use_cookies=False).post(PATH, json=body, headers=named, environ_overrides=environ)


def enter(app, person, **more):
    return knock(app, person.name, person.proof.password, person.code(time.time()), **more)


def test_a_person_signs_in_is_known_by_the_cookie_and_signs_out(app, enroll):
    answer = enter(app, enroll("approver", "ann"))
    assert answer.status_code == 200
    assert (answer.get_json()["operator"], answer.get_json()["role"]) == ("ann", "approver")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-postbox_session=")
    assert cookie.partition("; ")[2].split("; ") == ["Secure", "HttpOnly", "Path=/", "SameSite=Strict"]
    held = {"Cookie": cookie.partition(";")[0], "Origin": ORIGIN}
    client = app.test_client(use_cookies=False)
    again = client.get(PATH, headers=held)
    assert again.get_json() == answer.get_json()
    csrf = {"X-CSRF-Token": again.get_json()["csrf_token"]}
    assert client.delete(PATH, headers=held | csrf).get_json()["ended"] is True
    assert client.get(PATH, headers=held).status_code == 401


def test_every_wrong_way_gets_the_same_answer(app, enroll, edge):
    ann, gone = enroll(name="ann"), enroll(name="gone")
    edge.transact(factories.OPERATOR, lambda tx: operators.disable(tx, "gone", reason="left"))
    now = time.time()
    answers = [
        knock(app, "ann", "wrong", ann.code(now)), knock(app, "ann", ann.proof.password, ann.code(now - 600)),
        knock(app, "nobody", "wrong", "000000"), knock(app, "gone", gone.proof.password, gone.code(now)),
        knock(app, "';drop", ann.proof.password, ann.code(now)),
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.data for answer in answers}) == 1
    assert {answer.headers.get("Set-Cookie") for answer in answers} == {None}
    assert enter(app, ann).status_code == 200


def test_a_name_that_is_nobodys_costs_as_much_as_a_wrong_password(app, enroll):
    people = [enroll() for _ in range(4)]

    def cost(name):
        began = time.thread_time()
        assert knock(app, name, "wrong", "000000").status_code == 401
        return time.thread_time() - began

    known = statistics.median(cost(person.name) for person in people)
    unknown = statistics.median(cost(f"nobody-{number}") for number in range(4))
    assert 0.5 < unknown / known < 2
    assert not password.is_outdated(password.NOBODYS)


def test_a_code_works_once_even_for_two_at_once(app, enroll):
    ann = enroll()
    code = ann.code(time.time())
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: knock(app, ann.name, ann.proof.password, code), range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert knock(app, ann.name, ann.proof.password, code).status_code == 401


def test_a_code_of_a_neighbouring_step_is_taken_and_no_other():
    secret, now = second_factor.new_secret(), 1_700_000_010.0
    taken = [second_factor.step_of(secret, second_factor.code(secret, now + 30 * away), now) for away in range(-3, 4)]
    assert [step is not None for step in taken] == [False, False, True, True, True, False, False]


def last_wait(sql, scope):
    """Seconds that the last guess costs; made an hour for each, so that a busy machine does not sleep through them."""
    stretch = "update sign_in_failures set free_at = failed_at + %s * (free_at - failed_at) where scope = %s"
    told = stretch + " returning extract(epoch from old.free_at - old.failed_at)::int as wait"
    return sql.execute(told, [HOUR, scope]).fetchone()["wait"]


@pytest.mark.parametrize("who", ["ann", "nobody"])
def test_guessing_a_name_is_blocked_for_ever_longer_whether_it_exists_or_not(app, enroll, sql, who):
    ann = enroll(name="ann")
    assert [knock(app, who, "wrong", "000000").status_code for _ in range(6)] == [401] * 6
    waits = []
    for _ in range(13):
        waits.append(last_wait(sql, "name"))
        blocked = knock(app, who, "wrong", "000000")
        assert blocked.status_code == 429
        assert 0 <= HOUR * waits[-1] - int(blocked.headers["Retry-After"]) < HOUR, "what is left of it"
        sql.execute("update sign_in_failures set free_at = clock_timestamp() where scope = 'name'")
        assert knock(app, who, "wrong", "000000").status_code == 401
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    last_wait(sql, "name")
    assert enter(app, ann).status_code == (429 if who == "ann" else 200)


def test_many_guesses_at_once_are_counted_before_they_are_checked(app, enroll, sql):
    ann = enroll()
    knock(app, ann.name, "wrong", "000000")
    # the next one costs 512 s: nobody who comes at the same time gets in after it
    sql.execute("update sign_in_failures set failures = 14 where scope = 'name'")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: knock(app, ann.name, "wrong", "000000").status_code, range(16)))
    assert sorted(answers) == [401] + [429] * 15


def test_an_address_that_guesses_names_is_blocked_and_another_is_not(app, enroll, sql):
    ann = enroll()
    answers = [knock(app, f"name-{n}", "x", "000000", address="198.51.100.7").status_code for n in range(30)]
    assert answers == [401] * 30
    assert last_wait(sql, "address") == 1
    assert knock(app, "name-30", "x", "000000", address="198.51.100.7").status_code == 429
    assert enter(app, ann, address="198.51.100.7").status_code == 429
    assert enter(app, ann, address="198.51.100.8").status_code == 200


def test_addresses_that_cannot_be_read_count_as_one_and_ipv4_in_ipv6_as_itself(app, enroll, sql):
    assert {knock(app, "a", "x", "000000", address=address).status_code for address in ("unknown", "_hidden")} == {401}
    assert {knock(app, "b", "x", "000000", address=f"{v6}198.51.100.7").status_code for v6 in ("", "::ffff:")} == {401}
    counted = sql.execute("select failures from sign_in_failures where scope = 'address'").fetchall()
    assert counted == [{"failures": 2}] * 2
    assert enter(app, enroll(), address="unknown").status_code == 200


def test_who_signs_in_has_a_clean_slate(app, enroll, sql):
    ann = enroll()
    for _ in range(5):
        knock(app, ann.name, "wrong", "000000")
    assert enter(app, ann).status_code == 200
    left = sql.execute("select failures from sign_in_failures where scope = 'name'").fetchall()
    assert left == [{"failures": 0}]


def test_an_old_hash_is_replaced_when_its_owner_signs_in(app, enroll, sql):
    from argon2 import PasswordHasher

    ann = enroll()
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(ann.proof.password)
    sql.execute("alter table operator_credentials disable trigger operator_credentials_500_audit")
    sql.execute("update operator_credentials set password_hash = %s", [old])
    sql.execute("alter table operator_credentials enable always trigger operator_credentials_500_audit")
    assert enter(app, ann).status_code == 200
    kept = sql.execute("select password_hash from operator_credentials").fetchone()["password_hash"]
    assert kept != old and not password.is_outdated(kept) and password.check_password(kept, ann.proof.password)


def test_a_password_is_checked_while_no_transaction_is_open(app, enroll, sql, monkeypatch):
    ann, seen = enroll(), []
    look = "select count(*) as n from pg_stat_activity where datname = current_database() and state like 'idle in%%'"
    real = password.check_password

    def watched(hashed, typed):
        seen.append(sql.execute(look).fetchone()["n"])
        return real(hashed, typed)

    monkeypatch.setattr("app.gateway.ops.passwords.check_password", watched)
    assert enter(app, ann).status_code == 200
    assert seen == [0]


def test_neither_password_nor_secret_nor_token_is_in_the_database_or_the_log(
    app, enroll, cluster, database, caplog, lines
):
    ann = enroll()
    token = enter(app, ann).headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    dump = [str(cluster.bin_dir / "pg_dump"), "--dbname", database.admin_url]
    rows = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    assert sign_in.token_hmac(token, OPERATOR_KEY).hex() in rows
    for secret in (ann.proof.password, ann.proof.secret, token, OPERATOR_KEY):
        assert secret not in rows and secret not in caplog.text + str(lines) and secret not in repr(ann.proof)
