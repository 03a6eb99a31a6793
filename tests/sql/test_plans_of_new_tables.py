"""In a new database, of whose tables nothing is known, a plan finds a row by what names it; sessions keep it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, NamedTuple

import pytest

from app.db import QUERIES
from cli.dev.postgres import Cluster
from tests.factories import Connection
from tests.fixtures.database import Clone, clone
from tests.fixtures.shop import Shop

# What every payment adds to.
GROWING = {
    "audit_log", "awaited_webhooks", "deliveries", "disputes", "events", "idempotency_keys", "ledger_entries",
    "ledger_lines", "operation_attempts", "operations", "payments", "provider_calls", "provider_transactions",
    "refunds", "webhooks",
}  # fmt: skip
# Who goes through the books, or asks for each merchant, reads much.
READS_MUCH = ("checks.", "reports.", "trace.", "discrepancies.days", "ledger.control_total", "ledger.trial_balance")
NO_PLAN = ("transactions.", "schema_migrations.")

Node = dict[str, Any]
# By name: the table, and the columns in their order.
Indexes = dict[str, tuple[str, list[str]]]


class Scan(NamedTuple):
    """Of one table in a plan: the indexes it is read by, and what each is asked; the columns that are compared."""

    table: str
    by: dict[str, str]
    named: set[str]


@pytest.fixture(scope="module")
def untouched(cluster: Cluster, template: str) -> Iterator[Connection]:
    """To a database where no other test has left anything to be known of a table."""
    for made in clone(cluster, template):
        conn = made.connect(admin=True)
        # as it is in a large table, where none is read as a whole
        conn.execute("set enable_seqscan = off")
        yield conn


@pytest.fixture(scope="module")
def indexes(untouched: Connection) -> Indexes:
    rows = untouched.execute(
        """
        select i.indexrelid::regclass::text as index, i.indrelid::regclass::text as its,
          array(select pg_get_indexdef(i.indexrelid, n, true) from generate_series(1, i.indnkeyatts) n) as columns
        from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'postbox'::regnamespace
        """
    )
    return {row["index"]: (row["its"], row["columns"]) for row in rows}


@pytest.mark.parametrize("query", [name for name in QUERIES if not name.startswith((*READS_MUCH, *NO_PLAN))])
def test_a_query_finds_a_row_by_what_names_it(untouched: Connection, indexes: Indexes, query: str) -> None:
    names = sorted(set(re.findall(r"%\((\w+)\)s", QUERIES[query])))
    text = QUERIES[query] % {name: f"${place}" for place, name in enumerate(names, 1)}
    [row] = untouched.execute(f"explain (generic_plan, format json) {text}".encode(), prepare=False).fetchall()
    [explained] = row["QUERY PLAN"]
    assert astray(explained["Plan"], indexes) == []


@pytest.fixture
def database(database: Clone) -> Clone:
    """Every plan that it makes is for whatever is asked, and told in the server's log."""
    conn = database.connect(admin=True)
    for setting in (
        "session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0",
        "auto_explain.log_nested_statements = on", "auto_explain.log_format = json",
        "plan_cache_mode = force_generic_plan", "enable_seqscan = off",
    ):  # fmt: skip
        conn.execute(f"alter database {database.name} set {setting}".encode())
    return database


def test_functions_triggers_and_foreign_keys_find_a_row_by_what_names_it(
    shop: Shop, cluster: Cluster, indexes: Indexes
) -> None:
    begun = cluster.log_file.stat().st_size
    payment = shop.pay()
    shop.refund(payment, 700)
    shop.quiet(payment)
    shop.decide(shop.dispute(payment), "lose")
    shop.after("charge.dispute.closed", payment)
    shop.pay("failed", method_token="pm_card_chargeDeclined")

    with cluster.log_file.open(encoding="utf-8") as log:
        log.seek(begun)
        told = re.findall(r"  plan:\n(\t\{\n.*?\n\t\})$", log.read(), re.DOTALL | re.MULTILINE)
    plans = {entry["Query Text"]: entry["Plan"] for entry in map(json.loads, told)}
    for its in ("from procrastinate_jobs j", "FOR KEY SHARE OF x", "with named as materialized"):
        assert any(its in text for text in plans), its
    assert {text: found for text, plan in plans.items() if (found := astray(plan, indexes))} == {}


def astray(plan: Node, indexes: Indexes) -> list[Scan]:
    """Scans of what grows that enter an index by one column or by none, where another would be entered further."""

    def entered(columns: list[str], by: set[str]) -> int:
        return len([*takewhile(by.__contains__, columns)])

    def is_astray(scan: Scan) -> bool:
        if max(entered(columns, scan.named) for its, columns in indexes.values() if its == scan.table) < 2:
            return False
        read = [(indexes[index][1], set(re.findall(r"\w+", asked))) for index, asked in scan.by.items()]
        return any(entered(columns, by) < min(2, len(columns)) for columns, by in read)

    return [scan for scan in scans(plan) if scan.table in GROWING and is_astray(scan)]


def scans(plan: Node, above: str = "") -> Iterator[Scan]:
    """`above`: what the joins compare that it is a part of."""
    if "Relation Name" in plan:
        asked = " ".join(plan.get(kind, "") for kind in ("Index Cond", "Recheck Cond", "Filter"))
        # of two that are enough neither names anything
        asked = re.sub(r"\(\([^()]*\) OR \([^()]*\)\)", "", asked)
        own = re.findall(r"(?<![\w.])(\w+) =|= (\w+)\)", asked)
        joined = re.findall(rf"\b{plan['Alias']}\.(\w+) =|= {plan['Alias']}\.(\w+)\b", above)
        by = {part["Index Name"]: part.get("Index Cond", "") for part in (plan, *bitmaps(plan)) if "Index Name" in part}
        yield Scan(plan["Relation Name"], by, {name for pair in own + joined for name in pair})
    above += " ".join(plan.get(kind, "") for kind in ("Hash Cond", "Merge Cond", "Join Filter"))
    for part in plan.get("Plans", []):
        yield from scans(part, above)


def bitmaps(plan: Node) -> Iterator[Node]:
    for part in plan.get("Plans", []):
        if part["Node Type"].startswith("Bitmap"):
            yield part
            yield from bitmaps(part)
