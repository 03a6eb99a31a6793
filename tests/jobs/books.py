"""Books that a local handler keeps, one line per delivery, by Python or by the database; what fails in them and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from app.config import Settings, Timing
from app.db import Tx
from jobs import group, local
from jobs import turn as turns
from jobs.handlers import HANDLERS, LocalHandler
from jobs.runtime import open_runtime
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand

NOBODY_LISTENS = "http://127.0.0.1:9"
HANDLER = "test_books"


@dataclass
class Books:
    """A local handler that writes one line per delivery, and what each payment makes it do besides."""

    conduct: dict[UUID, Callable[[Tx, dict[str, Any]], None]] = field(default_factory=dict)
    handled: Counter[UUID] = field(default_factory=Counter)

    def handle(self, tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
        self.handled[delivery["payment_id"]] += 1
        tx.connection.execute("insert into test_lines values (%(merchant_id)s, %(payment_id)s, 0)", delivery)
        if delivery["payment_id"] in self.conduct:
            self.conduct[delivery["payment_id"]](tx, delivery)


@pytest.fixture
def hand(settings: Settings, database: Clone) -> Iterator[Hand]:
    """A worker's hand with no provider behind it: the local lane needs none."""
    runtime = open_runtime(replace(settings, stripe_api_base=NOBODY_LISTENS))
    try:
        yield Hand(runtime, database)
    finally:
        runtime.close()


@pytest.fixture
def books(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Books:
    """The handler, subscribed to new payments instead of all others; its lines must balance at COMMIT."""
    hand.connection.execute("""
        create table test_lines (merchant_id uuid, payment_id uuid, amount bigint);
        grant select, insert on test_lines to postbox_worker;
        create function test_balance() returns trigger language plpgsql as $$
        begin
          raise exception 'the books of % do not balance', new.payment_id;
        end $$;
        create constraint trigger test_lines_balance after insert on test_lines
          deferrable initially deferred for each row when (new.amount <> 0) execute function test_balance();
        delete from subscriptions;
        insert into subscriptions (topic, handler, lane) values ('payment.initiated', 'test_books', 'local');
    """)
    made = Books()
    monkeypatch.setitem(HANDLERS, HANDLER, LocalHandler(HANDLER, made.handle))
    return made


@pytest.fixture
def in_database(hand: Hand, books: Books) -> Books:
    """The same books kept by the database, in one statement for many; what a payment makes it do is in a table."""
    hand.connection.execute("""
        update subscriptions set handler = 'watch_outcome';
        create table test_conduct (payment_id uuid, how text);
        grant select on test_conduct to postbox_worker;
        create or replace function watch_outcome(p_merchant_ids uuid[], p_payment_ids uuid[], p_card float8,
          p_bank float8) returns void language plpgsql volatile as $$
        begin
          insert into test_lines
          select w.m, w.p, case when c.how = 'unbalances' then 1 else 0 end
          from unnest(p_merchant_ids, p_payment_ids) w (m, p) left join test_conduct c on c.payment_id = w.p;
          if exists (select from test_conduct where how = 'raises' and payment_id = any (p_payment_ids)) then
            raise exception 'this one is poison';
          end if;
          perform pg_sleep(5) from test_conduct where how = 'dawdles' and payment_id = any (p_payment_ids);
        end $$;
    """)
    return books


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the groups that were begun."""
    sizes: list[int] = []
    run_group = local.run_group

    def counted(tx: Tx, runtime: Any, picked: list[dict[str, Any]], *rest: Any) -> group.Group:
        sizes.append(len(picked))
        return run_group(tx, runtime, picked, *rest)

    monkeypatch.setattr(local, "run_group", counted)
    # A slow machine must not cut a group short, nor a fast one make it larger: these tests are about other things.
    monkeypatch.setattr(local, "GROUP_SECONDS", 60.0)
    monkeypatch.setattr(group, "GROUP_PATIENCE", 60.0)
    monkeypatch.setattr(turns, "GROUP_MOST", turns.GROUP_SIZE)
    return sizes


def payments(hand: Hand, count: int, merchants: int = 1) -> list[UUID]:
    ids = [factories.merchant(hand.connection, f"M{n}")["id"] for n in range(merchants)]
    return [factories.payment(hand.connection, merchant_id=ids[n % merchants])["id"] for n in range(count)]


def raises(tx: Tx, delivery: dict[str, Any]) -> None:
    raise ValueError("this one is poison")


def unbalances(tx: Tx, delivery: dict[str, Any]) -> None:
    tx.connection.execute("insert into test_lines values (%(merchant_id)s, %(payment_id)s, 1)", delivery)


def dawdles(tx: Tx, delivery: dict[str, Any]) -> None:
    tx.connection.execute("select pg_sleep(5)")


def outcomes(hand: Hand) -> Counter[str]:
    rows = hand.connection.execute("select status, failures from deliveries").fetchall()
    return Counter("failed" if row["failures"] else row["status"] for row in rows)


def failures_of(hand: Hand, payment_id: UUID) -> list[dict[str, Any]]:
    return hand.connection.execute(
        "select f.* from delivery_failures f join deliveries d using (merchant_id, event_id, handler)"
        " where d.payment_id = %s order by f.id",
        [payment_id],
    ).fetchall()


def lines(hand: Hand) -> Counter[UUID]:
    return Counter(row["payment_id"] for row in hand.connection.execute("select payment_id from test_lines"))
