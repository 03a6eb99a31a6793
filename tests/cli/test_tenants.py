"""Merchants and keys are made at the command line, audited with the operator's name, and shown without secrets."""

from __future__ import annotations

from app.model.api_key import parse_key
from tests.cli.conftest import Postbox
from tests.fixtures.database import KEY_PEPPER, Clone


def test_a_key_is_shown_once_and_only_its_hmac_is_stored(postbox: Postbox, database: Clone) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    made = postbox("keys", "create", "--merchant", merchant["id"], "--label", "till", "--json").json
    key = parse_key(made["key"])
    assert key is not None
    stored = database.connect(admin=True).execute("select * from api_keys").fetchone()
    assert stored is not None
    assert bytes(stored["secret_hmac"]) == key.hmac(KEY_PEPPER)
    assert key.secret not in postbox("keys", "list", "--json").out
    assert postbox("keys", "list", "--json").json[0]["status"] == "usable"


def test_making_and_revoking_is_audited_with_the_operators_name_and_reason(postbox: Postbox, database: Clone) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    key = postbox("keys", "create", merchant["id"], "--json").json
    assert postbox("keys", "revoke", key["id"], "--reason", "leaked", "--operator", "bob").code == 0
    rows = database.connect(admin=True).execute(
        "select action, actor_type, actor_id, db_role, reason, merchant_id::text from audit_log order by id"
    )
    operator = {"actor_type": "operator", "db_role": "postbox_operator", "merchant_id": merchant["id"]}
    assert rows.fetchall() == [
        {"action": "merchant.created", "actor_id": "ann", "reason": None} | operator,
        {"action": "api_key.created", "actor_id": "ann", "reason": None} | operator,
        {"action": "api_key.revoked", "actor_id": "bob", "reason": "leaked"} | operator,
    ]


def test_a_revoked_key_stays_revoked_and_says_so(postbox: Postbox) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    key = postbox("keys", "create", merchant["id"], "--json").json
    postbox("keys", "revoke", key["id"], "--reason", "leaked")
    again = postbox("keys", "revoke", key["id"], "--reason", "leaked")
    assert (again.code, again.out) == (1, "")
    assert "was revoked before" in again.err
    assert postbox("keys", "list", "--json").json[0]["status"] == "revoked"


def test_the_platform_is_listed_nowhere_and_has_no_keys(postbox: Postbox) -> None:
    assert postbox("merchants", "list", "--json").json == []
    refused = postbox("keys", "create", "00000000-0000-0000-0000-000000000000")
    assert (refused.code, refused.err) == (1, "Error: the platform has no API keys\n")


def test_expected_errors_are_one_line_on_stderr(postbox: Postbox) -> None:
    nobody = "11111111-1111-1111-1111-111111111111"
    for arguments, code, said in [
        (("keys", "create", nobody), 1, f"Error: there is no merchant {nobody}\n"),
        (("keys", "revoke", "beef", "--reason", "x"), 1, "Error: there is no key beef\n"),
        (("merchants", "create", "  "), 1, "Error: a merchant's name has 1 to 200 characters\n"),
    ]:
        answer = postbox(*arguments)
        assert (answer.code, answer.err) == (code, said)


def test_no_pepper_no_keys(postbox: Postbox) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    refused = postbox("keys", "create", merchant["id"], POSTBOX_KEY_PEPPER="")
    assert refused.code == 1
    assert "POSTBOX_KEY_PEPPER" in refused.err


def test_usage_errors_exit_with_2(postbox: Postbox) -> None:
    assert postbox("keys", "create").code == 2
    assert postbox("keys", "revoke", "beef").code == 2
    assert postbox("keys", "revoke", "beef", "--reason", " ").code == 2
    assert postbox("nonsense").code == 2


def test_a_key_is_made_for_one_purpose_and_a_time_and_listed_with_both(postbox: Postbox) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    options = (
        "--scope",
        "payments:read",
        "--scope",
        "balance:read",
        "--from",
        "203.0.113.0/24",
        "--expires",
        "2100-01-01",
    )
    postbox("keys", "create", merchant["id"], *options)
    listed = postbox("keys", "list", "--json").json[0]
    assert listed["scopes"] == ["payments:read", "balance:read"]
    assert listed["allowed_from"] == ["203.0.113.0/24"]
    assert (listed["expires_at"], listed["last_used_at"]) == ("2100-01-01T00:00:00Z", None)
    for wrong in (("--from", "203.0.113.7/24"), ("--expires", "2020-01-01"), ("--from", "everywhere")):
        assert postbox("keys", "create", merchant["id"], *wrong).code == 1
    assert postbox("keys", "create", merchant["id"], "--scope", "everything").code == 2


def test_a_rotated_key_names_its_successor_and_ends_after_the_overlap(postbox: Postbox) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    old = postbox("keys", "create", merchant["id"], "--scope", "events:read", "--label", "till", "--json").json
    new = postbox("keys", "rotate", old["id"], "--overlap-hours", "0", "--reason", "yearly", "--json").json
    assert (new["replaces"], new["scopes"], new["label"]) == (old["id"], ["events:read"], "till")
    assert parse_key(new["key"]) is not None
    listed = {row["id"]: row["status"] for row in postbox("keys", "list", "--json").json}
    assert listed == {old["id"]: "expired", new["id"]: "usable"}
    again = postbox("keys", "rotate", old["id"], "--reason", "yearly")
    assert (again.code, "no longer in use" in again.err) == (1, True)


def test_a_key_is_not_rotated_twice(postbox: Postbox) -> None:
    merchant = postbox("merchants", "create", "Corner shop", "--json").json
    old = postbox("keys", "create", merchant["id"], "--json").json
    new = postbox("keys", "rotate", old["id"], "--reason", "yearly", "--json").json
    again = postbox("keys", "rotate", old["id"], "--reason", "yearly")
    assert (again.code, again.err) == (1, f"Error: key {old['id']} was rotated before, to {new['id']}\n")
