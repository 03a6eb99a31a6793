"""Who may come in, and that every way of not being let in looks the same."""

from dataclasses import replace

import pytest

from app.config import Settings, SettingsError
from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.model.api_key import new_key
from tests import factories
from tests.gateway.conftest import CARD


def ask(app, authorization, method="GET"):
    headers = {"X-Request-Id": "same", "Idempotency-Key": "k", "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    return app.test_client().open("/v1/payments", method=method, json=CARD, headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_wrong_key_gets_the_same_401(app, api, sql, method):
    good = api.key
    revoked = factories.api_key(sql, api.merchant_id, revoked_at="now")
    elsewhere = factories.api_key(sql, api.merchant_id, allowed_from="{198.51.100.0/24}")
    expired = factories.api_key(sql, api.merchant_id, expires_at="yesterday")
    closed = factories.merchant(sql)
    of_closed = factories.api_key(sql, closed["id"])
    with factories.acting(sql, "operator"):
        sql.execute("update merchants set active = false where id = %s", [closed["id"]])
    wrong = [
        None, "", "Bearer", "Bearer ", "Bearer nonsense", f"Basic {good.text()}", good.text(), f"Bearer {good.text()}x",
        f"Bearer {new_key(livemode=False).text()}", f"Bearer {replace(good, secret='0' * 43).text()}",
        f"Bearer {replace(good, livemode=True).text()}", f"Bearer {revoked.text()}", f"Bearer {expired.text()}",
        f"Bearer {of_closed.text()}", f"Bearer {elsewhere.text()}", f"Bearer {good.text()[:-1]}",
        "Bearer pb_test_" + "é" * 16,
    ]  # fmt: skip
    answers = [ask(app, header, method) for header in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer realm="postbox"'}
    assert len({answer.data for answer in answers}) == 1
    assert sql.execute("select from idempotency_keys").fetchall() == []
    assert ask(app, f"bearer {good.text()}", method).status_code in (200, 201)


def test_a_key_works_until_it_is_revoked(api, sql):
    assert api.get("/v1/payments").status_code == 200
    with factories.acting(sql, "operator"):
        sql.execute("update api_keys set revoked_at = clock_timestamp()")
    assert api.get("/v1/payments").status_code == 401


def test_another_pepper_makes_every_key_worthless(api, settings):
    app = create_app(replace(settings, key_pepper="another"))
    try:
        assert ask(app, f"Bearer {api.key.text()}").status_code == 401
    finally:
        app.extensions[EXTENSION].database.close()


def test_without_a_pepper_nothing_starts(settings: Settings):
    with pytest.raises(SettingsError, match="POSTBOX_KEY_PEPPER"):
        create_app(replace(settings, key_pepper=""))


def test_a_test_key_cannot_charge_a_live_account(api, settings, sql):
    app = create_app(replace(settings, livemode=True))
    try:
        answer = ask(app, f"Bearer {api.key.text()}", "POST")
        assert (answer.status_code, answer.get_json()["code"]) == (403, "wrong_mode")
        assert sql.execute("select from payments").fetchall() == []
    finally:
        app.extensions[EXTENSION].waker.close()
        app.extensions[EXTENSION].database.close()


def test_the_merchant_is_carried_by_the_transaction_and_leaves_with_it(api, app):
    api.create()
    with app.extensions[EXTENSION].database.connection() as connection:
        left = connection.execute(
            "select current_setting('postbox.merchant_id', true) as m, current_user as u"
        ).fetchone()
    assert (left["m"] or "", left["u"]) == ("", "postbox_login")
