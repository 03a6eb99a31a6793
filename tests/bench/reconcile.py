"""The nightly three-way: payments compared per second, and what a hundred times as many payments change about it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg

from app.config import PLATFORM_MERCHANT_ID, ROOT
from tests import factories
from tests.bench.arena import Arena
from tests.bench.cpu import used
from tests.bench.measure import Series, ratio
from tests.fixtures.database import Clone
from tests.reconciliation.comparing import met

MERCHANTS = 10
# So many times the payments asked for: 10,000, 100,000 and 1,000,000 unless told.
GROWTH = (1, 10, 100)
LONGEST_SECONDS = 3_600.0
# The invariants of the books that hold of rows filled in; there is no history to be checked.
CHECKED = ("ledger_entries_sum_to_zero", "clearing_is_zero", "credits_follow_the_state")
FILLED = ("payments", "events", "provider_transactions", "ledger_entries", "ledger_lines")

# A settled payment's rows in all three books, as the product leaves them; `g` numbers payments from 1.
PAYMENTS = """
    insert into payments (merchant_id, state, version, currency, amount, amount_captured, submitted_at, confirmed_at,
      settled_at, provider, provider_account, provider_ref, latest_charge_ref, provider_rank, method, method_token)
    select m.id, 'settled', 6, 'usd', 1000, 1000, now(), now(), now(), 'stripe', 'default', 'pi_bench_' || g,
      'ch_bench_' || g, 50, 'card', 'pm_card_visa'
    from generate_series(1, %(payments)s) g
    join (select id, row_number() over (order by id) - 1 as n from merchants where name = 'Bench') m
      on m.n = g %% %(merchants)s
    """
# By two connections at once: about as much each.
BOOKS = (
    """
    insert into events (merchant_id, topic, payment_id, payment_version, payload)
    select p.merchant_id, t.topic, p.id, t.version, '{}'
    from payments p
    cross join (values ('payment.initiated', 1), ('payment.provider_submitted', 3), ('payment.confirmed', 4),
                       ('payment.settled', 6)) t (topic, version)
    where p.provider_ref like 'pi_bench_%%';
    insert into provider_transactions (merchant_id, payment_id, provider, account, ref, kind, source_ref, currency,
      gross, fee, net, status, available_on, created_at_provider)
    select merchant_id, id, 'stripe', 'default', 'txn_' || provider_ref, 'charge', latest_charge_ref, 'usd',
      1000, 59, 941, 'available', now(), now()
    from payments where provider_ref like 'pi_bench_%%'
    """,
    """
    with entries as (
      insert into ledger_entries (merchant_id, kind, source_type, source_id, payment_id)
      select p.merchant_id, k.kind, 'payment', p.id::text, p.id
      from payments p cross join (values ('payment_credited'), ('fact_recorded')) k (kind)
      where p.provider_ref like 'pi_bench_%%'
      returning merchant_id, id, kind, payment_id
    )
    insert into ledger_lines (merchant_id, entry_id, line, account_merchant_id, account_id, currency, amount,
      payment_id)
    select e.merchant_id, e.id, l.line, a.merchant_id, a.id, 'usd', l.amount, e.payment_id
    from entries e
    join (values ('payment_credited', 1, 'clearing:stripe', 1000), ('payment_credited', 2, 'provider_fees', -1000),
                 ('fact_recorded', 1, 'stripe:available', 941), ('fact_recorded', 2, 'provider_fees', 59),
                 ('fact_recorded', 3, 'clearing:stripe', -1000)) l (kind, line, code, amount) on l.kind = e.kind
    join ledger_accounts a on a.code = l.code and a.merchant_id = %(platform)s
    """,
)


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Compare every payment of a night, for this many payments, ten times and a hundred times as many."""
    series = {size: Series(f"a night of {payments * size:,} payments", "payments/s") for size in GROWTH}
    violations = 0
    for size, one in series.items():
        with arena.database() as filled:
            began = time.monotonic()
            with arena.loading():
                fill(filled, payments * size)
                filled.close()
            progress(f"filled {payments * size:,} payments in {time.monotonic() - began:.0f} s")
            for repeat in range(1, repeats + 1):
                before = used(arena.cluster, {})
                told = night(arena, filled)
                cost = used(arena.cluster, {}).since(before)
                night_only = {"each": {"night": told["cpu_seconds"]}, "peak_mb": {"night": told["memory_mb"]}}
                one.spent(replace(cost, **night_only, driving={}), payments * size)
                one.rates.append(payments * size / told["seconds"])
                one.note("memory_mb", told["memory_mb"])
                progress(f"repeat {repeat} of {repeats}: {one.rates[-1]:,.0f} payments/s, {told['memory_mb']} MB")
            violations += arena.check(filled, quiesced=False, names=CHECKED)
    least, ten, hundred = (series[size] for size in GROWTH)
    return {
        "payments": payments,
        "variants": [one.summary() for one in series.values()],
        "ratios": {
            "reconcile_at_ten_times": ratio(ten, least),
            "reconcile_at_a_hundred_times": ratio(hundred, least),
            "night_memory_at_a_hundred_times": round(_memory(hundred) / _memory(least), 2),
        },
        "violations": violations,
        "note": "settled payments, filled in by plain INSERT; a night flags nothing, and the books are"
        " checked after it, which is all there is of them to check; at a ratio of 1 it grows linearly",
    }


def _memory(series: Series) -> float:
    """What the process that compared held at most."""
    return max(series.samples["memory_mb"])


def fill(database: Clone, payments: int) -> None:
    """So many settled payments whose books meet: by plain INSERT, with the triggers out of the way."""
    conn = database.connect(admin=True)
    # one of each account, opened as the product opens them
    met(conn)
    for _ in range(MERCHANTS):
        factories.merchant(conn, "Bench")
    of = {"payments": payments, "merchants": MERCHANTS, "platform": PLATFORM_MERCHANT_ID}
    for table in FILLED:
        conn.execute(f"alter table {table} disable trigger all")
    conn.execute(PAYMENTS, of)
    conn.execute("analyze payments")
    with ThreadPoolExecutor(len(BOOKS)) as hands:
        list(hands.map(lambda books: _write(database, books, of), BOOKS))
    for table in FILLED:
        conn.execute(f"alter table {table} enable trigger all")
    conn.execute("delete from reconcile_due")
    conn.execute("vacuum analyze")


def _write(database: Clone, books: str, of: dict[str, Any]) -> None:
    """Statements with the values in them, so that several are sent at once."""
    conn = database.connect(admin=True)
    with psycopg.ClientCursor(conn) as cursor:
        cursor.execute(books, of)


def night(arena: Arena, database: Clone) -> dict[str, Any]:
    """One night, in a process of its own, whether there was one before or not; it flags nothing."""
    conn = database.connect(admin=True)
    conn.execute("delete from reconciliation_runs where kind = 'nightly'")
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.night"],
        cwd=ROOT, env=arena.environment(database), capture_output=True, text=True, timeout=LONGEST_SECONDS,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found = conn.execute("select found from reconciliation_runs where kind = 'nightly'").fetchone()
    assert found is not None and found["found"]["opened"] == 0, found
    database.close()
    return dict(json.loads(answer.stdout))
