"""What the books refuse, whoever asks: unbalanced, reopened, rewritten, posted twice, left open."""

from __future__ import annotations

import psycopg
import pytest

from tests import factories
from tests.factories import Connection
from tests.fixtures.database import Clone
from tests.ledger.books import POST, balances, books, credit, drift, post, posting
from tests.sql.refusal import ACCEPTED, answer

RUNTIME = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance")
TABLES = ("ledger_accounts", "ledger_entries", "ledger_lines", "ledger_balances", "ledger_folds")
FEES = (("provider_fees", "usd", 5), ("stripe:available", "usd", -5))

LINE = (
    "insert into ledger_lines"
    " (merchant_id, entry_id, line, account_merchant_id, account_id, currency, amount, payment_id)"
    " select merchant_id, entry_id, line + {n}, account_merchant_id, account_id, currency, {amount}, payment_id"
    " from ledger_lines where entry_id = %(id)s and line = 1"
)
ENTRY = (
    "insert into ledger_entries (merchant_id, id, kind, source_type, source_id)"
    " values (%(m)s, %(id)s, 'fact_recorded', 't', 's')"
)


@pytest.fixture
def merchant_id(conn: Connection):
    return factories.merchant(conn)["id"]


@pytest.mark.parametrize(
    "lines",
    [
        (("provider_fees", "usd", 5), ("stripe:available", "usd", -6)),
        (("provider_fees", "usd", 5), ("stripe:available", "eur", -5)),
        (("provider_fees", "usd", 5),),
    ],
    ids=["off by one", "two currencies", "one line"],
)
def test_an_entry_that_is_not_zero_in_every_currency_is_refused_at_commit(database: Clone, lines) -> None:
    merchant_id = factories.merchant(database.connect(admin=True))["id"]
    conn = database.connect(autocommit=False)
    factories.act(conn, "worker")
    conn.execute(POST, posting(merchant_id, *lines))
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        conn.commit()
    assert refused.value.diag.constraint_name == "ledger_entries_sum_to_zero"


def test_an_entry_without_lines_is_refused(conn: Connection, merchant_id) -> None:
    names = {"m": merchant_id, "id": factories.uuid.uuid4()}
    assert answer(conn, ENTRY, names, actor="system") == "ledger_entries_sum_to_zero"


def test_lines_added_after_an_early_check_are_checked_again(conn: Connection, merchant_id) -> None:
    """SET CONSTRAINTS IMMEDIATE spends the entry's own check; the lines bring theirs."""
    entry = post(conn, merchant_id, *FEES)
    conn.execute("set constraints all immediate; set constraints all deferred")
    with factories.acting(conn, "system"):
        conn.execute(LINE.format(n=2, amount=1), {"id": entry})
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("set constraints all immediate")


def test_a_closed_entry_takes_no_further_lines(database: Clone) -> None:
    admin = database.connect(admin=True)
    entry = post(admin, factories.merchant(admin)["id"], *FEES)
    balanced = LINE.format(n=2, amount=7) + " union all" + LINE.format(n=3, amount=-7).split("payment_id)", 1)[1]
    assert answer(admin, balanced, {"id": entry}, actor="system") == "PB004"


def test_an_entry_cannot_pretend_to_belong_to_another_transaction(conn: Connection, merchant_id) -> None:
    backdated = ENTRY.replace("source_id)", "source_id, recorded_xid)").replace("'s')", "'s', '3')")
    names = {"m": merchant_id, "id": factories.uuid.uuid4()}
    assert answer(conn, backdated, names, actor="system") == "PB004"


@pytest.mark.parametrize("role", RUNTIME)
@pytest.mark.parametrize("table", TABLES)
def test_no_runtime_role_writes_a_table_of_the_ledger(conn: Connection, merchant_id, table: str, role: str) -> None:
    post(conn, merchant_id, *credit(merchant_id, 5))
    for statement in (
        f"insert into postbox.{table} default values",
        f"update postbox.{table} set merchant_id = merchant_id",
        f"delete from postbox.{table}",
        f"truncate postbox.{table} cascade",
    ):
        assert answer(conn, statement, role=role) == "42501", statement


@pytest.mark.parametrize("table", ["ledger_accounts", "ledger_entries", "ledger_lines"])
def test_not_even_the_owner_rewrites_the_books(conn: Connection, merchant_id, table: str) -> None:
    post(conn, merchant_id, *credit(merchant_id, 5))
    conn.execute("set constraints all immediate; set constraints all deferred")  # truncate waits for no trigger
    change = f"update {table} set merchant_id = merchant_id"
    for statement in (change, f"delete from {table}", f"truncate {table} cascade"):
        assert answer(conn, statement, actor="system") == "PB004", statement
    conn.execute("set session_replication_role = replica")
    try:
        assert answer(conn, f"delete from {table}", actor="system") == "PB004", "guards are ENABLE ALWAYS"
    finally:
        conn.execute("set session_replication_role = origin")


def test_balances_are_neither_deleted_nor_truncated(conn: Connection, merchant_id) -> None:
    post(conn, merchant_id, *credit(merchant_id, 5))
    for statement in ("delete from ledger_balances", "truncate ledger_balances"):
        assert answer(conn, statement, actor="system") == "PB004"


def test_a_source_is_posted_once(conn: Connection, merchant_id) -> None:
    assert post(conn, merchant_id, *credit(merchant_id, 500), source="bt_1") is not None
    assert post(conn, merchant_id, *credit(merchant_id, 500), source="bt_1") is None
    assert balances(conn, merchant_id) == {("merchant:available", "usd"): -500}
    assert post(conn, merchant_id, *credit(merchant_id, 500), source="bt_1", kind="fact_matched") is not None


def test_lines_of_amount_zero_are_left_out_and_an_entry_of_nothing_is_none(conn: Connection, merchant_id) -> None:
    entry = post(conn, merchant_id, *FEES, ("fx", "usd", 0))
    lines = conn.execute("select line from ledger_lines where entry_id = %s order by line", [entry]).fetchall()
    assert [row["line"] for row in lines] == [1, 2]
    assert post(conn, merchant_id, ("fx", "usd", 0), ("losses", "usd", 0)) is None
    assert answer(conn, POST, posting(merchant_id), actor="worker") == ACCEPTED


@pytest.mark.parametrize(
    "account, currency, refusal",
    [
        ("pocket_money", "usd", "23502"),
        ("merchant:pocket", "usd", "23502"),
        ("provider_fees", "xxx", "ledger_lines_currency_fkey"),
    ],
)
def test_an_account_outside_the_chart_or_a_currency_nobody_knows_is_refused(
    conn: Connection, merchant_id, account: str, currency: str, refusal: str
) -> None:
    lines = ((account, currency, 5), ("fx", currency, -5))
    assert answer(conn, POST, posting(merchant_id, *lines)) == refusal


def test_the_platform_has_no_merchants_account(conn: Connection) -> None:
    lines = credit("00000000-0000-0000-0000-000000000000", 5)
    refused = answer(conn, POST, posting("00000000-0000-0000-0000-000000000000", *lines))
    assert refused == "ledger_accounts_merchants_hold_merchant_codes"


def test_a_transaction_that_leaves_a_balance_open_is_refused(conn: Connection, merchant_id) -> None:
    assert answer(conn, POST, posting(merchant_id, *credit(merchant_id, 5))) == "ledger_folds_are_closed"
    assert answer(conn, POST, posting(merchant_id, *FEES)) == ACCEPTED, "platform accounts have no balance row"


def test_balances_move_by_the_sum_of_what_was_posted(conn: Connection, merchant_id) -> None:
    post(conn, merchant_id, *credit(merchant_id, 500), close=False)
    post(conn, merchant_id, *credit(merchant_id, -200), close=False)
    post(conn, merchant_id, *credit(merchant_id, 7, "eur"))
    assert balances(conn, merchant_id) == {("merchant:available", "usd"): -300, ("merchant:available", "eur"): -7}
    assert (drift(conn), conn.execute("select from ledger_folds").fetchall()) == ([], [])


@pytest.mark.parametrize("currency, amount", [("jpy", 1_050), ("kwd", 1_230), ("usd", 10**15)])
def test_a_currency_of_any_exponent_is_whole_numbers(conn: Connection, merchant_id, currency: str, amount: int) -> None:
    post(conn, merchant_id, *credit(merchant_id, amount, currency))
    assert balances(conn, merchant_id) == {("merchant:available", currency): -amount}


@pytest.mark.parametrize("role", ["postbox_api", "postbox_operator", "postbox_compliance"])
def test_only_the_worker_posts(conn: Connection, merchant_id, role: str) -> None:
    assert (
        answer(conn, POST.replace("ledger_post", "postbox.ledger_post"), posting(merchant_id, *FEES), role=role)
        == "42501"
    )


def test_posting_names_an_actor_that_the_role_may_be(conn: Connection, merchant_id) -> None:
    assert answer(conn, POST, posting(merchant_id, *FEES), actor="operator", role="postbox_worker") == "PB002"
    assert answer(conn, POST, posting(merchant_id, *FEES, kind="reversal")) == "PB002"


def test_a_mistake_is_reversed_once_by_an_operator_with_a_reason(conn: Connection, merchant_id) -> None:
    entry = post(conn, merchant_id, *credit(merchant_id, 500))
    reverse = "select ledger_reverse(%s, %s, %s) as id"
    assert answer(conn, reverse, [merchant_id, entry, "wrong"]) == "42501", "the worker corrects nothing"
    assert answer(conn, reverse, [merchant_id, entry, "  "], actor="operator") == "PB002"
    with factories.acting(conn, "operator", actor_id="ann"):
        reversal = conn.execute(reverse, [merchant_id, entry, "posted for the wrong merchant"]).fetchone()["id"]
        assert conn.execute(reverse, [merchant_id, entry, "again"]).fetchone() == {"id": None}
    conn.execute("set constraints all immediate")
    assert (books(conn), balances(conn, merchant_id), drift(conn)) == ({}, {}, [])
    told = conn.execute("select action, actor_id, reason from audit_log where entity_id = %s", [str(reversal)])
    assert told.fetchall() == [
        {"action": "ledger.reversed", "actor_id": "ann", "reason": "posted for the wrong merchant"}
    ]


def test_every_entry_is_audited_once_with_its_lines(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    entry = post(conn, p["merchant_id"], *credit(p["merchant_id"], 5), payment_id=p["id"])
    [told] = conn.execute("select *, body::jsonb -> 'after' as after from audit_log where entity_id = %s", [str(entry)])
    assert (told["action"], told["entity_type"], told["payment_id"]) == ("ledger.posted", "ledger_entry", p["id"])
    assert [(line["account"], line["currency"], line["amount"]) for line in told["after"]["lines"]] == [
        ("clearing:stripe", "usd", 5), (f"merchant:{p['merchant_id']}:available", "usd", -5),
    ]  # fmt: skip
