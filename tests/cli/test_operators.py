"""Operators are enrolled, reset and disabled at the command line; what proves who they are is shown once."""

from __future__ import annotations

import time

from app.model import password, second_factor
from tests.cli.conftest import Postbox
from tests.fixtures.database import OPERATOR_KEY, Clone


def test_a_person_is_enrolled_and_shown_once_how_to_sign_in(postbox: Postbox, database: Clone) -> None:
    made = postbox("operators", "create", "bob", "--role", "approver", "--json").json
    stored = database.connect(admin=True).execute("select * from operator_credentials").fetchone()
    assert stored is not None
    assert password.check_password(stored["password_hash"], made["password"])
    assert second_factor.unseal(stored["totp_secret"], OPERATOR_KEY) == made["totp_secret"]
    assert made["totp_uri"].startswith("otpauth://totp/Postbox:bob?")
    assert made["password"] not in postbox("operators", "list", "--json").out
    now = time.time()
    typed = postbox("operators", "code", "--secret", made["totp_secret"]).out.strip()
    assert second_factor.step_of(made["totp_secret"], typed, now) is not None


def test_what_happens_to_people_is_audited_without_their_secrets(postbox: Postbox, database: Clone) -> None:
    postbox("operators", "create", "bob", "--role", "viewer")
    first = postbox("operators", "reset", "bob", "--reason", "lost phone", "--json").json
    assert postbox("operators", "disable", "bob", "--reason", "left").code == 0
    rows = (
        database.connect(admin=True)
        .execute(
            "select action, actor_id, entity_id, reason, body from audit_log where entity_type = 'operator' order by id"
        )
        .fetchall()
    )
    assert [(row["action"], row["actor_id"], row["entity_id"], row["reason"]) for row in rows] == [
        ("operator.created", "ann", "bob", None), ("operator.enrolled", "ann", "bob", None),
        ("operator.reset", "ann", "bob", "lost phone"), ("operator.disabled", "ann", "bob", "left"),
    ]  # fmt: skip
    assert not any(secret in row["body"] for row in rows for secret in (first["password"], "argon2"))


def test_a_name_stays_one_persons(postbox: Postbox) -> None:
    postbox("operators", "create", "bob", "--role", "viewer")
    postbox("operators", "disable", "bob", "--reason", "left")
    for arguments, said in [
        (("create", "bob", "--role", "admin"), "a name stays one person's"),
        (("reset", "bob", "--reason", "x"), "who comes back gets another name"),
        (("disable", "bob", "--reason", "x"), "was disabled before"),
        (("create", "Bob Smith", "--role", "admin"), "a short word"),
        (("disable", "eve", "--reason", "x"), "there is no operator eve"),
    ]:
        answer = postbox("operators", *arguments)
        assert answer.code == 1 and said in answer.err, arguments


def test_no_operator_key_no_operators(postbox: Postbox) -> None:
    refused = postbox("operators", "create", "bob", "--role", "viewer", POSTBOX_OPERATOR_KEY="")
    assert refused.code == 1 and "POSTBOX_OPERATOR_KEY" in refused.err
