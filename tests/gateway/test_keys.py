"""What a key is, what it may do, from where and how long; and that it is written down nowhere."""

from __future__ import annotations

import logging
import re
import string
import subprocess
from dataclasses import replace

import pytest

from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.model.api_key import new_key, parse_key
from app.model.scope import ALL_SCOPES, Scope
from app.services import api_keys
from tests import factories
from tests.gateway.conftest import CARD, Api, made


def routes(app):
    """(method, path, scope) of every route under /v1; its ids name nothing."""
    return [
        (method, re.sub(r"<[^>]+>", "nothing", rule.rule), getattr(app.view_functions[rule.endpoint], "scope", None))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
        for method in sorted(rule.methods - {"OPTIONS", "HEAD"})
    ]


def ask(api, method, path, **query):
    return api.get(path, **query) if method == "GET" else api.post(path, {})


# -- the form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("livemode", [True, False])
def test_a_key_is_a_prefix_an_id_256_random_bits_and_a_checksum(livemode):
    keys = {new_key(livemode=livemode).text() for _ in range(200)}
    assert len(keys) == 200
    for text in keys:
        assert re.fullmatch(rf"pb_{'live' if livemode else 'test'}_[0-9a-f]{{16}}_[0-9A-Za-z]{{49}}", text)
        assert parse_key(text).text() == text
    assert 62**43 > 2**256 > 62**42


def test_a_mistyped_key_is_refused_without_asking_the_database(settings):
    app = create_app(replace(settings, database_url="host=127.0.0.1 port=1"))
    text = new_key(livemode=False).text()
    for at in range(len("pb_test_"), len(text)):
        for other in set(string.hexdigits.lower() + "zZ") - {text[at]}:
            assert parse_key(text[:at] + other + text[at + 1 :]) is None
    wrong = text[:-8] + text[-7:] + text[-8]  # a digit that moved
    for typed in {wrong, text[:-1], text + "0"} - {text}:
        answer = app.test_client().get("/v1/payments", headers={"Authorization": f"Bearer {typed}"})
        assert answer.status_code == 401


# -- what it may do ---------------------------------------------------------------------------------------------


def test_every_route_names_one_scope(app):
    found = routes(app)
    assert {scope for _, _, scope in found} <= set(Scope)
    for method, path, scope in found:
        assert scope.endswith(":read" if method == "GET" else ":write"), (method, path)


@pytest.mark.parametrize("held", ALL_SCOPES)
def test_a_key_does_what_its_scope_says_and_nothing_else(app, login, held):
    api = login(scopes=[held])
    for method, path, scope in routes(app):
        answer = ask(api, method, path)
        if scope == held:
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert (answer.status_code, answer.get_json()["code"]) == (403, "scope_missing"), (method, path)
            assert scope in answer.get_json()["detail"]


def test_a_replay_needs_the_scope_as_well(api, sql):
    assert api.post("/v1/payments", CARD, key="mine").status_code == 201
    reader = Api(api.client, api.merchant_id, factories.api_key(sql, api.merchant_id, scopes=["payments:read"]))
    assert reader.post("/v1/payments", CARD, key="mine").status_code == 403


# -- from where, how long ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "status"), [("203.0.113.9", 200), ("203.0.112.255", 401), ("2001:db8::5", 200), ("2001:db9::", 401)]
)
def test_a_key_that_is_bound_to_networks_is_no_key_elsewhere(login, sql, address, status):
    api = login(allowed_from="{203.0.113.0/24,2001:db8::/32}")
    headers = {"Authorization": f"Bearer {api.key.text()}", "X-Forwarded-For": "203.0.113.9"}
    answer = api.client.get("/v1/payments", headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status
    spent = sql.execute("select from rate_limits").fetchall()
    assert bool(spent) == (status == 200), "a thief elsewhere spends nothing"


# As proxies write where a request came from, and what is kept of it.
WRITTEN = {
    "203.0.113.9": "203.0.113.9", "203.0.113.9:4711": "203.0.113.9", "::ffff:203.0.113.9": "203.0.113.9",
    "[::ffff:203.0.113.9]:80": "203.0.113.9", "2001:db8::1": "2001:db8::1", "[2001:DB8:0::1]": "2001:db8::1",
    "[2001:db8::1]:80": "2001:db8::1", "fe80::1%eth0": "fe80::1", "[fe80::1%25eth0]:80": "fe80::1",
    "unknown": None, "_hidden": None, "203.0.113.9:http": None, "203.0.113.0/24": None, "203.0.113": None,
    "[]:80": None, "2001:db8::1]": None, "[2001:db8::1]x": None, "203.0.113.9%eth0": None,
}  # fmt: skip


def test_an_address_is_read_however_a_proxy_writes_it(login, sql, settings):
    """What cannot be read is no address: a key that is bound to networks is none there, any other is."""
    free, bound = login(), login(allowed_from="{203.0.113.0/24,2001:db8::/32}")
    for app in made(replace(settings, trusted_proxies=1)):
        for written, read in WRITTEN.items():
            sql.execute("delete from api_key_uses")
            anywhere, inside = replace(free, client=app.test_client()), replace(bound, client=app.test_client())
            answer = anywhere.post("/v1/payments", CARD, X_Forwarded_For=f"192.0.2.1, {written}")
            assert answer.status_code == 201, written
            used = sql.execute("select host(last_address) as address from api_key_uses").fetchall()
            assert used == [{"address": read}], written
            answer = inside.post("/v1/payments", CARD, X_Forwarded_For=f"192.0.2.1, {written}")
            assert answer.status_code == (201 if read and not read.startswith("fe80") else 401), written


def test_last_used_is_noted_once_a_minute_whatever_became_of_the_request(api, sql):
    look = "select xmin::text, last_used_at, host(last_address) as address from api_key_uses"
    assert sql.execute(look).fetchall() == []
    assert api.get("/v1/payments/pay_nothing").status_code == 404
    first = sql.execute(look).fetchone()
    assert first["address"] == "127.0.0.1"
    for _ in range(3):
        api.get("/v1/payments")
    assert sql.execute(look).fetchone() == first
    sql.execute("update api_key_uses set last_used_at = last_used_at - interval '61 seconds'")
    api.get("/v1/payments")
    assert sql.execute(look).fetchone()["last_used_at"] > first["last_used_at"]


def test_a_rotated_key_and_its_successor_both_work_until_the_overlap_ends(api, sql, db):
    rotated = db.transact(
        factories.OPERATOR,
        lambda tx: api_keys.rotate(tx, api.key.id, overlap=3600, reason="yearly", pepper=factories.PEPPER),
    )
    successor = Api(api.client, api.merchant_id, parse_key(rotated["key"]))
    assert [key.get("/v1/payments").status_code for key in (api, successor)] == [200, 200]
    with factories.acting(sql, "operator"):
        sql.execute("update api_keys set expires_at = clock_timestamp() where id = %s", [api.key.id])
    assert [key.get("/v1/payments").status_code for key in (api, successor)] == [401, 200]


def test_revocation_is_effective_at_once_in_every_process(api, sql, settings):
    other = create_app(settings)
    elsewhere = Api(other.test_client(), api.merchant_id, api.key)
    try:
        assert [key.get("/v1/payments").status_code for key in (api, elsewhere)] == [200, 200]
        with factories.acting(sql, "operator"):
            sql.execute("update api_keys set revoked_at = clock_timestamp()")
        assert [key.get("/v1/payments").status_code for key in (api, elsewhere)] == [401, 401]
    finally:
        other.extensions[EXTENSION].database.close()


# -- where it must never be -------------------------------------------------------------------------------------


def test_a_key_is_in_no_log_no_traceback_no_answer_and_no_row(api, app, sql, cluster, database, caplog, lines):
    caplog.set_level(logging.DEBUG)
    sql.execute("alter table payments add constraint payments_test_refuses check (reference <> 'bad')")
    stranger = Api(api.client, api.merchant_id, new_key(livemode=False))
    answers = [
        api.post("/v1/payments", CARD, key=api.key.id), api.post("/v1/payments", CARD | {"reference": "bad"}),
        api.post("/v1/payments", {"amount": -1}), api.get("/v1/payments/pay_nothing"), api.get("/metrics"),
        stranger.get("/v1/payments"), api.get("/v1/events", cursor="x"),
    ]  # fmt: skip
    assert 500 in {answer.status_code for answer in answers}
    dump = [str(cluster.bin_dir / "pg_dump"), "--dbname", database.admin_url]
    rows = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    assert api.key.id in rows and api.key.hmac(factories.PEPPER).hex() in rows
    assert api.key.id in str(lines)
    seen = [caplog.text, str(lines), rows, repr(api.key), repr(app.extensions[EXTENSION].settings)]
    seen += [answer.text + str(answer.headers) for answer in answers]
    for key in (api.key, stranger.key):
        assert not any(key.secret in text for text in seen)
    assert not any(factories.PEPPER in text for text in seen)
