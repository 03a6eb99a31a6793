"""Two walls between tenants, the query's filter and the table's policy: either is taken away, and the other holds."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from app.config import ROOT
from app.db.queries import QUERIES
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.gateway.waiting import until
from tests.reconciliation.comparing import met
from tests.sql.test_tenancy import tables

FILTER = "merchant_id = %(merchant_id)s"
# What every list begins with: the newest of everything, or the first of all.
BEGINNING = {
    "livemode": False, "before": "infinity", "before_id": uuid.UUID(int=2**128 - 1), "created_gte": "-infinity",
    "created_lt": "infinity", "state": None, "reference": None, "currency": None, "method": None, "amount": None,
    "payment_id": None, "topic": None, "epoch": 0, "xid": "0", "event_id": uuid.UUID(int=0),
    "entry_id": uuid.UUID(int=0), "line": 0, "limit": 100,
}  # fmt: skip
# Every query that reads for a merchant, and what names another's rows to it.
READS: dict[str, Callable[[Row], dict[str, Any]]] = {
    "payments.get": lambda of: {"payment_id": of["payment"]},
    "payments.lock_for_request": lambda of: {"payment_id": of["payment"]},
    "payments.page": lambda of: {},
    "payments.timeline": lambda of: {"payment_id": of["payment"]},
    "refunds.get": lambda of: {"refund_id": of["refund"]},
    "refunds.page": lambda of: {"payment_id": of["payment"]},
    "refunds.newest_of": lambda of: {"payment_ids": [of["payment"]]},
    "disputes.get": lambda of: {"dispute_id": of["dispute"]},
    "disputes.page": lambda of: {"payment_id": of["payment"]},
    "disputes.newest_of": lambda of: {"payment_ids": [of["payment"]]},
    "events.feed": lambda of: {},
    "ledger.balance": lambda of: {},
    "ledger.feed": lambda of: {},
    "idempotency_keys.find": lambda of: {"key": "k"},
}
WRITES = {"payments.create"}


def test_every_query_that_a_service_runs_for_its_caller_is_looked_at() -> None:
    run = re.compile(r'"([a-z_]+\.[a-z_]+)",\s*(?:merchant_id=)?caller\.merchant_id')
    named = {name for path in (ROOT / "app" / "services").glob("*.py") for name in run.findall(path.read_text())}
    assert named | {"idempotency_keys.find"} == READS.keys() | WRITES


class Neighbours:
    """Merchants a and b, committed: a payment each that was refunded and disputed, its books, and a used key.

    Amounts and fingerprints differ, so that each row says whose it is.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.a, self.b = self._merchant(1_000), self._merchant(2_000)

    def _merchant(self, amount: int) -> Row:
        merchant_id = factories.merchant(self.conn)["id"]
        p = met(self.conn, merchant_id=merchant_id, amount=amount)
        with factories.acting(self.conn, "api", merchant_id=str(merchant_id)):
            claim = {"merchant_id": merchant_id, "key": "k", "fingerprint": merchant_id.bytes * 2}
            self.conn.execute(QUERIES["idempotency_keys.claim"], claim)
        refund, dispute = factories.refund(self.conn, p)["id"], factories.dispute(self.conn, p)["id"]
        return {"merchant": merchant_id, "payment": p["id"], "refund": refund, "dispute": dispute}

    def found(self, name: str, query: str, *, of: Row, by: Row, acting: Row) -> set[str]:
        """The rows of `of` that are asked for, filtered by one merchant, on behalf of another."""
        params = BEGINNING | READS[name](of) | {"merchant_id": by["merchant"]}
        with self.conn.transaction(force_rollback=True):
            factories.act(self.conn, "api", merchant_id=str(acting["merchant"]))
            # an id to give away is another each time
            return {repr(row | {"operation_id": None}) for row in self.conn.execute(query, params)}


@pytest.fixture
def neighbours(database: Clone) -> Neighbours:
    return Neighbours(database.connect(admin=True))


def test_without_the_filter_the_policy_holds_and_without_the_policy_the_filter(neighbours: Neighbours) -> None:
    a, b, found = neighbours.a, neighbours.b, neighbours.found
    bs: dict[str, set[str]] = {}
    for name in READS:
        unfiltered = QUERIES[name].replace(FILTER, "merchant_id is not null")
        assert unfiltered != QUERIES[name]
        bs[name] = until(lambda name=name: found(name, QUERIES[name], of=b, by=b, acting=b), f"what b finds by {name}")
        assert not bs[name] & found(name, unfiltered, of=b, by=a, acting=a), f"{name}: the policy, without the filter"
    for table in tables(neighbours.conn):
        neighbours.conn.execute(sql.SQL("alter table {} disable row level security").format(sql.Identifier(table)))
    for name in READS:
        unfiltered = QUERIES[name].replace(FILTER, "merchant_id is not null")
        assert not bs[name] & found(name, QUERIES[name], of=b, by=a, acting=a), (
            f"{name}: the filter, without the policy"
        )
        assert bs[name] <= found(name, unfiltered, of=b, by=a, acting=a), f"{name}: with neither it is seen"


def test_the_list_reads_its_index_under_the_policy_and_asks_for_the_merchant_once(conn: Connection) -> None:
    merchant_id = factories.payment(conn)["merchant_id"]
    with conn.transaction(force_rollback=True):
        conn.execute("set local enable_seqscan = off")
        factories.act(conn, "api", merchant_id=str(merchant_id))
        plan = conn.execute("explain (costs off) " + QUERIES["payments.page"], BEGINNING | {"merchant_id": merchant_id})
        text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Index Scan using payments_by_merchant_newest" in text, text
    assert "Sort" not in text, text
    condition = next(line for line in text.splitlines() if "Index Cond" in line)
    assert "merchant_id =" in condition and "ROW(created_at, id) <" in condition, text
    assert "InitPlan" in text, text
