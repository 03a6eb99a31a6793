"""What the database itself refuses about API keys, whoever asks."""

from __future__ import annotations

import pytest

from tests import factories
from tests.factories import Connection
from tests.sql.refusal import ACCEPTED, answer

END = "update api_keys set expires_at = clock_timestamp() + %(after)s::interval where id = %(id)s"


def test_a_keys_end_only_comes_nearer(conn: Connection) -> None:
    key = factories.api_key(conn, factories.merchant(conn)["id"])
    assert answer(conn, END, {"id": key.id, "after": "1 hour"}, actor="operator") == ACCEPTED
    with factories.acting(conn, "operator"):
        conn.execute(END, {"id": key.id, "after": "1 hour"})
    assert answer(conn, END, {"id": key.id, "after": "59 minutes"}, actor="operator") == ACCEPTED
    assert answer(conn, END, {"id": key.id, "after": "61 minutes"}, actor="operator") == "PB004"
    never = f"update api_keys set expires_at = null where id = '{key.id}'"
    assert answer(conn, never, actor="operator") == "PB004"


@pytest.mark.parametrize("scopes", ["{}", "{payments}", "{payments:read,}", "{payments:all}", "{'payments:read x'}"])
def test_a_key_without_a_scope_or_with_nonsense_is_refused(conn: Connection, scopes: str) -> None:
    make = (
        "insert into api_keys (merchant_id, id, secret_hmac, label, livemode, scopes)"
        " values (%(m)s, 'k', sha256('x'), 'x', false, %(s)s)"
    )
    values = {"m": factories.merchant(conn)["id"], "s": scopes}
    assert answer(conn, make, values, actor="operator") in ("api_keys_scopes_are_named", "22P02")


def test_a_key_is_rotated_once_and_within_its_merchant(conn: Connection) -> None:
    a, b = factories.merchant(conn)["id"], factories.merchant(conn)["id"]
    key = factories.api_key(conn, a)
    make = (
        "insert into api_keys (merchant_id, id, secret_hmac, label, livemode, replaces)"
        " values (%(m)s, gen_random_uuid(), sha256('x'), 'x', false, %(k)s)"
    )
    assert answer(conn, make, {"m": b, "k": key.id}, actor="operator") == "api_keys_replaces_a_key_of_its_merchant"
    factories.api_key(conn, a, replaces=key.id)
    assert answer(conn, make, {"m": a, "k": key.id}, actor="operator") == "api_keys_rotated_once"


def test_only_the_take_of_a_token_notes_a_use(conn: Connection) -> None:
    key = factories.api_key(conn, (m := factories.merchant(conn)["id"]))
    note = "insert into api_key_uses values (%(m)s, %(k)s, now(), null)"
    for actor in ("api", "worker", "operator"):
        assert answer(conn, note, {"m": m, "k": key.id}, actor=actor, merchant_id=str(m)) == "42501"
