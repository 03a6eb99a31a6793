"""How many rows every table has: what a refused request must not change."""

from __future__ import annotations

from typing import Any

from psycopg import sql as names

# Every request spends a token and uses a key; a refused webhook leaves a trace, at most one per account and second.
MOVED_BY_REFUSALS = {"rate_limits", "api_key_uses", "webhook_rejections"}
TRACE_OF_A_REFUSAL = "webhook.refused"


def counts(sql: Any) -> dict[str, int]:
    """Rows by table, without the traces that a refusal is meant to leave."""
    tables = sql.execute(
        "select c.oid::regclass::text as name from pg_class c where c.relkind = 'r'"
        " and c.relnamespace in ('postbox'::regnamespace, 'procrastinate'::regnamespace)"
    ).fetchall()
    found = {}
    for name in sorted(row["name"] for row in tables if row["name"] not in MOVED_BY_REFUSALS):
        table = names.SQL(".").join(map(names.Identifier, name.split(".")))
        found[name] = sql.execute(names.SQL("select count(*) as n from {}").format(table)).fetchone()["n"]
    found["audit_log"] -= sql.execute(
        "select count(*) as n from audit_log where action = %s", [TRACE_OF_A_REFUSAL]
    ).fetchone()["n"]
    return found
