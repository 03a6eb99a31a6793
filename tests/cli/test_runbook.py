"""Every command of the runbook does what it is for when it is typed as written, with the names of this installation."""

from __future__ import annotations

import re
import shlex
from itertools import product

import pytest

from app.config import ROOT
from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone, Connection
from tests.ledger import books
from tests.reconciliation.comparing import line

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
# `postbox status` says with 3 that a person is needed, and here one is.
DONE = (0, 3)


def commands() -> list[str]:
    """What stands in the runbook as code: whole lines of its blocks, and spans of its text."""
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)
    typed = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    typed += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", RUNBOOK, flags=re.DOTALL))
    return sorted({line.removeprefix("postbox ") for line in typed if line.startswith("postbox ")})


def alternatives(command: str) -> list[list[str]]:
    """`pause handler|merchant NAME` is two commands; the dots of `--reason ...` are a person's words."""
    words = [word.split("|") for word in shlex.split(command.replace(" ...", " why"))]
    return [list(choice) for choice in product(*words)]


CASES = [words for command in commands() for words in alternatives(command)]


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_a_command_of_the_runbook_runs_as_written(postbox: Postbox, database: Clone, person, words: list[str]) -> None:
    conn = database.connect(admin=True)
    # one that moves no money: leaving the others takes a second person
    p = factories.payment(conn, "confirmed")
    merchant, event = p["merchant_id"], story.dead(conn, p, "watch_settlement")
    stopped = {"handler": "submit_payment", "merchant": merchant, "provider": "stripe"}
    with factories.acting(conn, "operator"):
        conn.execute(
            "insert into provider_accounts (merchant_id, provider, account) values (%s, 'stripe', 'own')", [merchant]
        )
    if words[0] == "resume":
        assert postbox("pause", words[1], stopped[words[1]], "--reason", "it does harm").code == 0
    ids = {"dlq": f"{event}:watch_settlement", "keys": factories.api_key(conn, merchant).id, "trace": p["id"]}
    if words[0] == "operators" and words[1] in ("disable", "reset"):
        assert postbox("operators", "create", words[2], "--role", "viewer").code == 0
    if words[0] == "discrepancies":
        ids["discrepancies"] = money_after_final(postbox, conn)
    books.post(conn, merchant, *books.credit(merchant, 10))
    names = {
        "ID": ids.get(words[0]),
        "PAYOUT": paid_out(postbox, merchant) if "PAYOUT" in words else None,
        "PAYMENT": p["id"],
        "MERCHANT": merchant,
        "NAME": stopped.get(words[1]) if len(words) > 1 else None,
    }
    typed = person("ann", "operator") if words[:2] == ["discrepancies", "write-off"] else postbox
    answer = typed(*(names.get(word, word) for word in words))
    assert answer.code in DONE, answer.err


def paid_out(postbox: Postbox, merchant: object) -> str:
    """A merchant payout that the bank has said nothing about yet."""
    sum_ = ("--amount", 5, "--currency", "usd", "--reason", "weekly")
    return str(postbox("merchant-payouts", "create", merchant, *sum_, "--json").json["payout"])


def money_after_final(postbox: Postbox, conn: Connection) -> str:
    """A discrepancy that a person can look after, explain or write off."""
    failed = factories.payment(conn, "failed")
    line(conn, failed, "charge", failed["amount"])
    assert postbox("reconcile", "run", "--payment", failed["id"]).code == 3
    [found] = postbox("discrepancies", "list", "--json").json
    return str(found["id"])


def test_the_runbook_has_commands_for_all_that_can_be_stopped() -> None:
    assert {tuple(words[:2]) for words in CASES if words[0] == "resume"} == {
        ("resume", "handler"), ("resume", "merchant"), ("resume", "provider"),
    }  # fmt: skip
