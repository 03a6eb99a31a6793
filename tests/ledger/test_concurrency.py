"""Balances under concurrency: nothing is lost, nothing deadlocks, and a group moves them once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import factories
from tests.factories import Connection
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.ledger.books import POST, balances, books, credit, drift, post, posting
from tests.sql.race import Meet, race

WRITERS, POSTS = 8, 100


@pytest.fixture
def admin(database: Clone) -> Connection:
    return database.connect(admin=True)


def merchants(admin: Connection, count: int) -> list[Any]:
    """Merchants that have been credited 1 before, so that their accounts and balances are there."""
    ids = [factories.merchant(admin)["id"] for _ in range(count)]
    for merchant_id in ids:
        post(admin, merchant_id, *credit(merchant_id, 1))
    return ids


def add_naively(merchant_id: Any, amount: int) -> Any:
    """Read the balance, think, write the balance."""

    def story(conn: Connection, meet: Meet) -> None:
        row = conn.execute("select amount from ledger_balances where merchant_id = %s", [merchant_id]).fetchone()
        assert row is not None
        meet()
        conn.execute(
            "update ledger_balances set amount = %s where merchant_id = %s", [row["amount"] - amount, merchant_id]
        )

    return story


def add_by_posting(merchant_id: Any, amount: int) -> Any:
    """Post, and close the transaction's balances."""

    def story(conn: Connection, meet: Meet) -> None:
        conn.execute(POST, posting(merchant_id, *credit(merchant_id, amount)))
        meet()
        conn.execute("select ledger_close()")

    return story


@pytest.mark.parametrize("add, sums", [(add_naively, {-1_001, -501}), (add_by_posting, {-1_501})])
def test_r1_a_balance_that_is_written_is_lost_and_one_that_is_moved_is_not(
    database: Clone, admin: Connection, add: Any, sums: set[int]
) -> None:
    admin.execute("grant update on ledger_balances to postbox_worker")  # for the naive one; nobody has it
    [merchant_id] = merchants(admin, 1)
    race(database, add(merchant_id, 1_000), add(merchant_id, 500))
    assert balances(admin, merchant_id)[("merchant:available", "usd")] in sums


def post_to(*merchant_ids: Any, close_each: bool) -> Any:
    """One transaction that credits several merchants, closing after each entry, or once at the end."""

    def story(conn: Connection, meet: Meet) -> None:
        for merchant_id in merchant_ids:
            conn.execute(POST, posting(merchant_id, *credit(merchant_id, 10)))
            if close_each:
                conn.execute("select ledger_close()")
            meet()
        conn.execute("select ledger_close()")

    return story


@pytest.mark.parametrize("close_each, outcomes", [(True, {None, "40P01"}), (False, {None})])
def test_r13_balances_closed_once_in_account_order_never_deadlock(
    database: Clone, admin: Connection, close_each: bool, outcomes: set[str | None]
) -> None:
    one, two = merchants(admin, 2)
    stories = post_to(one, two, close_each=close_each), post_to(two, one, close_each=close_each)
    assert set(race(database, *stories)) == outcomes


def test_two_who_post_one_source_post_it_once(database: Clone, admin: Connection) -> None:
    [merchant_id] = merchants(admin, 1)

    def story(conn: Connection, meet: Meet) -> bool:
        meet()
        row = conn.execute(POST, posting(merchant_id, *credit(merchant_id, 10), source="bt_1")).fetchone()
        conn.execute("select ledger_close()")
        return row is not None and row["id"] is not None

    assert sorted(race(database, story)) == [False, True]
    assert balances(admin, merchant_id) == {("merchant:available", "usd"): -11}


def test_two_who_open_the_same_accounts_open_them_once(database: Clone, admin: Connection) -> None:
    merchant_id = factories.merchant(admin)["id"]

    def story(conn: Connection, meet: Meet) -> None:
        meet()
        conn.execute(POST, posting(merchant_id, *credit(merchant_id, 10)))
        meet()
        conn.execute("select ledger_close()")

    assert race(database, story) == [None, None]
    assert balances(admin, merchant_id) == {("merchant:available", "usd"): -20}


def post_properly(conn: Connection, merchant_id: Any, amount: int) -> None:
    conn.execute(POST, posting(merchant_id, *credit(merchant_id, amount)))


def post_naively(conn: Connection, merchant_id: Any, amount: int) -> None:
    """The lines as they should be, and the balance read, added to, and written."""
    read = "select amount from ledger_balances where merchant_id = %s"
    row = conn.execute(read, [merchant_id]).fetchone()
    assert row is not None
    post_properly(conn, merchant_id, amount)
    conn.execute("delete from ledger_folds where recorded_xid = pg_current_xact_id()")
    conn.execute("update ledger_balances set amount = %s where merchant_id = %s", [row["amount"] - amount, merchant_id])


@pytest.mark.parametrize("post_one, is_right", [(post_naively, False), (post_properly, True)])
def test_800_concurrent_posts_on_one_pair_of_accounts_leave_no_drift(
    database: Clone, admin: Connection, post_one: Any, is_right: bool
) -> None:
    """R1 and R13: both orders of the pair in one transaction, and nobody is rerun for a deadlock."""
    admin.execute("grant update on ledger_balances to postbox_worker")
    admin.execute("grant select, delete on ledger_folds to postbox_worker")
    one, two = merchants(admin, 2)
    connections = [database.connect() for _ in range(WRITERS)]

    def write(number: int) -> None:
        conn = connections[number]
        for n in range(POSTS):
            # the naive one would only deadlock in both orders, and its drift is to be seen
            first, second = (one, two) if (number + n) % 2 or not is_right else (two, one)
            with conn.transaction():
                factories.act(conn, "worker")
                post_one(conn, first, n + 1)
                post_one(conn, second, 1)
                conn.execute("select ledger_close()")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    total = 2 + WRITERS * (sum(range(1, POSTS + 1)) + POSTS)
    assert books(admin) == {"clearing:stripe": {"usd": total}, "merchant:available": {"usd": -total}}
    assert (drift(admin) == []) == is_right
    assert admin.execute("select from ledger_folds").fetchall() == []


def test_a_group_of_deliveries_moves_each_balance_once(hand: Hand) -> None:
    conn = hand.connection
    conn.execute("delete from subscriptions where handler <> 'credit_merchant'")
    ids = [factories.merchant(conn)["id"] for _ in range(3)]
    for n in range(30):
        factories.payment(conn, "confirmed", merchant_id=ids[n % 3])
    conn.execute(
        "create table moves (account_id uuid); grant insert on moves to public;"
        "create function note() returns trigger language plpgsql security definer as"
        " 'begin insert into postbox.moves values (new.account_id); return new; end';"
        "create trigger moves after insert or update on ledger_balances for each row execute function note();"
    )
    hand.run_all()
    assert not hand.open_deliveries()
    assert [balances(conn, each) for each in ids] == [{("merchant:pending", "usd"): -10_000}] * 3
    groups = conn.execute("select count(distinct recorded_xid)::int as n from ledger_lines").fetchone()["n"]
    moves = Counter(row["account_id"] for row in conn.execute("select account_id from moves"))
    assert 0 < groups < 10, "30 deliveries are a few transactions"
    assert all(count <= groups for count in moves.values()) and len(moves) == 3
