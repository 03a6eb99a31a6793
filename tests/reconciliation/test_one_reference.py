"""A reference is a merchant's free text: who gives all payments the same one is compared as fast as anybody else."""

from __future__ import annotations

import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.reconciliation.comparing import compare, opened

MANY = 2_000
# What each of the payments that are compared may read of the table, itself included.
FEW = 12
# How many seconds apart they were asked for, and how far apart in amount.
ALIKE = {
    "two minutes apart": (120.0, 0),
    "within ten minutes": (0.25, 0),
    "within ten minutes, for as many amounts": (0.25, 1),
}


@pytest.mark.parametrize(("apart", "dearer"), ALIKE.values(), ids=ALIKE)
def test_a_comparison_reads_few_payments_however_many_have_one_reference(
    conn: Connection, apart: float, dearer: int
) -> None:
    last = factories.payment(conn, "settled", reference="web shop")
    newest = before_it(conn, last, apart, dearer)
    read = fetched(conn)
    compare(conn, *newest)
    assert fetched(conn) - read <= FEW * len(newest)
    twins = [row for row in opened(conn, last) if row["type"] == "duplicate_charge"]
    assert len(twins) == (0 if dearer else len(newest))


def before_it(conn: Connection, last: Row, apart: float, dearer: int) -> list[Row]:
    """As many more like it, one before another; the newest of all."""
    conn.execute("alter table payments disable trigger user")
    conn.execute(
        "insert into payments select (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(),"
        " 'provider_ref', 'pi_' || n, 'latest_charge_ref', null, 'amount', p.amount + n * %(dearer)s,"
        " 'created_at', p.created_at - make_interval(secs => n * %(apart)s)))).*"
        " from payments p, generate_series(1, %(many)s) n where p.id = %(id)s",
        {"apart": apart, "dearer": dearer, "many": MANY, "id": last["id"]},
    )
    newest = conn.execute("select * from payments order by created_at desc limit 40").fetchall()
    assert newest[0]["id"] == last["id"]
    return newest


def fetched(conn: Connection) -> int:
    """How many rows of payments this transaction has fetched by an index so far."""
    row = conn.execute("select idx_tup_fetch as n from pg_stat_xact_user_tables where relname = 'payments'").fetchone()
    assert row is not None
    return int(row["n"])
