"""The races of the domain on two connections: a naive version that loses is kept beside the one that does not."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app.config import Timing
from app.db import QUERIES, Database, Tx
from app.model.snapshot import ProviderStatus, Snapshot
from app.services.snapshots import apply_snapshot
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.sql.race import Meet, admin, now, race

__all__ = ["admin"]

# -- R1: lost update --------------------------------------------------------------------------------------------
# On a sum of the payment's row; the balances of the ledger are raced for in tests/ledger/test_concurrency.py.


def add_naively(p: Row, amounts: Iterator[int]) -> Any:
    """Read, think, write the sum."""

    def story(conn: Connection, meet: Meet) -> None:
        seen = now(conn, p)["amount_refund_pending"]
        meet()
        factories.update_payment(conn, p, amount_refund_pending=seen + next(amounts))

    return story


def add_under_the_lock(p: Row, amounts: Iterator[int]) -> Any:
    """The same, after taking the payment's row as the product does."""

    def story(conn: Connection, meet: Meet) -> None:
        conn.execute(QUERIES["payments.lock"], {"merchant_id": p["merchant_id"], "payment_id": p["id"]})
        add_naively(p, amounts)(conn, meet)

    return story


@pytest.mark.parametrize("add, sums", [(add_naively, {300, 500}), (add_under_the_lock, {800})])
def test_r1_an_update_is_lost_without_the_lock(database: Clone, admin: Connection, add: Any, sums: set[int]) -> None:
    p = factories.payment(admin, "confirmed")
    race(database, add(p, iter((300, 500))))
    assert now(admin, p)["amount_refund_pending"] in sums


# -- R2: the response and the webhook both confirm --------------------------------------------------------------


def confirm_and_credit_naively(p: Row) -> Any:
    """Check that it is not confirmed yet, then confirm and credit."""

    def story(conn: Connection, meet: Meet) -> None:
        open_still = now(conn, p)["state"] == "submitted"
        meet()
        if open_still:
            factories.update_payment(conn, p, state="confirmed", **factories.facts_of(p, "confirmed"))
            conn.execute("insert into credits values (%s)", [p["amount"]])

    return story


def test_r2_check_then_act_credits_twice_and_tells_once(database: Clone, admin: Connection) -> None:
    """Even with the naive check the event is told once: what is credited per event is credited once."""
    admin.execute("create table credits (amount bigint)")
    admin.execute("grant select, insert on credits to postbox_worker")
    p = factories.payment(admin, "submitted")
    race(database, confirm_and_credit_naively(p))
    assert admin.execute("select sum(amount)::int as sum from credits").fetchone() == {"sum": 2 * p["amount"]}
    assert confirmed_events(admin, p) == 1


def succeeded(p: Row) -> Snapshot:
    return Snapshot(
        provider="stripe", account="default", ref=factories.provider_ref(p), status=ProviderStatus.SUCCEEDED,
        currency="usd", amount=p["amount"], amount_captured=p["amount"],
    )  # fmt: skip


def test_r2_two_observations_of_one_success_apply_once(database: Clone, admin: Connection) -> None:
    p = factories.payment(admin, "submitted")

    def story(conn: Connection, meet: Meet) -> bool:
        meet()
        tx = Tx(conn)
        version = p["observed_version"]
        return apply_snapshot(
            tx, str(p["merchant_id"]), str(p["id"]), succeeded(p), observed_version=version, timing=Timing()
        ).outdated

    assert sorted(race(database, story)) == [False, True]
    assert (now(admin, p)["state"], confirmed_events(admin, p)) == ("confirmed", 1)


def confirmed_events(conn: Connection, p: Row) -> int:
    row = conn.execute(
        "select count(*) as n from events where payment_id = %s and topic = 'payment.confirmed'", [p["id"]]
    ).fetchone()
    assert row is not None
    return int(row["n"])


# -- R5: capture and cancel at once -----------------------------------------------------------------------------


def ask_naively(p: Row, kind: str) -> Any:
    """Look whether something is open, then ask."""

    def story(conn: Connection, meet: Meet) -> str:
        found = conn.execute(
            "select from operations where payment_id = %(id)s and status in ('pending', 'in_flight', 'unknown')", p
        )
        assert found.rowcount == 0
        meet()
        params: Row = {"merchant_id": p["merchant_id"], "operation_id": uuid.uuid4(), "payment_id": p["id"]}
        params |= {"kind": kind, "step": kind, "reason": None, "params": '{"amount_to_capture": 600}'}
        params |= {"amount": 600 if kind == "capture" else None}
        conn.execute(QUERIES["operations.request"], params | {"params_sha256": hashlib.sha256(b"{}").hexdigest()})
        return "asked"

    return story


def test_r5_without_the_index_capture_and_cancel_are_both_open(database: Clone, admin: Connection) -> None:
    admin.execute("drop index operations_one_open_per_payment")
    p = factories.payment(admin, "authorized")
    assert race(
        database, ask_naively(p, "capture"), ask_naively(p, "cancel"), actor="api", merchant_id=p["merchant_id"]
    ) == ["asked", "asked"]


def test_r5_exactly_one_of_capture_and_cancel_is_open(database: Clone, admin: Connection) -> None:
    p = factories.payment(admin, "authorized")
    answers = race(
        database, ask_naively(p, "capture"), ask_naively(p, "cancel"), actor="api", merchant_id=p["merchant_id"]
    )
    assert sorted(answers) == ["asked", "operations_one_open_per_payment"]


# -- R12: the feed and the order of commits ---------------------------------------------------------------------


class Reader:
    """Reads events in order, each from where it stopped."""

    def __init__(self, conn: Connection, merchant_id: uuid.UUID) -> None:
        self._conn, self._merchant_id = conn, merchant_id
        self._last = {"epoch": 0, "xid": "0", "event_id": uuid.UUID(int=0)}
        self.seen: list[uuid.UUID] = []

    def read_naively(self) -> None:
        """The naive version: everything with a greater id than the last."""
        last = self.seen[-1] if self.seen else uuid.UUID(int=0)
        rows = self._conn.execute(
            "select payment_id, id from events where merchant_id = %s and id > %s order by id",
            [self._merchant_id, last],
        )
        self.seen += [row["id"] for row in rows]

    def read(self) -> None:
        given = {"merchant_id": self._merchant_id, "livemode": False, "topic": None, "limit": 100}
        for row in self._conn.execute(QUERIES["events.feed"], given | self._last).fetchall():
            self._last = {"epoch": row["epoch"], "xid": row["recorded_xid"], "event_id": row["id"]}
            self.seen.append(row["id"])


def two_writers(database: Clone, merchant_id: uuid.UUID, between: Any) -> None:
    """One begins first and commits last; `between` runs when only the other has committed."""
    early, late = database.connect(), database.connect()
    with early.transaction():
        factories.payment(early, merchant_id=merchant_id)
        factories.payment(late, merchant_id=merchant_id)
        between()


def test_r12_a_cursor_by_id_never_sees_what_commits_late(database: Clone, admin: Connection) -> None:
    merchant_id = factories.merchant(admin)["id"]
    reader = Reader(admin, merchant_id)
    two_writers(database, merchant_id, reader.read_naively)
    reader.read_naively()
    assert (len(reader.seen), total(admin, merchant_id)) == (1, 2)


def test_r12_the_feed_shows_everything_in_order(database: Clone, admin: Connection) -> None:
    merchant_id = factories.merchant(admin)["id"]
    reader = Reader(admin, merchant_id)
    two_writers(database, merchant_id, reader.read)
    assert reader.seen == [], "what may still be overtaken is not shown"
    patience = threading.Event()
    for _ in range(1_000):  # other databases of the cluster hold the horizon back for as long as their tests take
        reader.read()
        if len(reader.seen) == 2:
            break
        patience.wait(0.01)
    rows = admin.execute("select id from events where merchant_id = %s order by recorded_xid, id", [merchant_id])
    assert reader.seen == [row["id"] for row in rows]


def total(conn: Connection, merchant_id: uuid.UUID) -> int:
    return len(conn.execute("select from events where merchant_id = %s", [merchant_id]).fetchall())


def test_the_pool_takes_part_in_no_race_of_roles(db: Database) -> None:
    """What one transaction set is gone in the next on the same connection."""
    with db.connection() as connection, connection.transaction():
        factories.act(connection, "worker")
    with db.connection() as connection:
        row = connection.execute(
            "select current_setting('role') as role, current_setting('postbox.actor_type', true) as actor"
        ).fetchone()
    assert row in ({"role": "none", "actor": ""}, {"role": "none", "actor": None})
