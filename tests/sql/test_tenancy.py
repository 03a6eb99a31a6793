"""What keeps tenants apart in the catalog: row level security, composite keys, and nothing to learn from an index."""

from __future__ import annotations

from tests.factories import Connection

ROLES = ("postbox_api", "postbox_worker", "postbox_operator")
TENANT_TABLES = (
    "select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity from pg_class c"
    " where c.relnamespace = 'postbox'::regnamespace and c.relkind in ('r', 'p') and (c.relname = 'merchants'"
    " or exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'merchant_id'))"
)


def tables(conn: Connection) -> list[str]:
    return [row["relname"] for row in conn.execute(f"{TENANT_TABLES} order by relname")]


def key_of(table: str) -> str:
    return "id" if table == "merchants" else "merchant_id"


def test_every_tenant_table_has_row_level_security_and_a_policy_for_each_role(conn: Connection) -> None:
    """FORCE would bind the owner, and with it the triggers."""
    found = conn.execute(f"{TENANT_TABLES} order by relname").fetchall()
    assert len(found) >= 16
    for table in found:
        assert (table["relrowsecurity"], table["relforcerowsecurity"]) == (True, False), table["relname"]
        policies = conn.execute(
            "select p.polname, p.polcmd::text as command, p.polpermissive, r.rolname,"
            " pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as written"
            " from pg_policy p join pg_roles r on array[r.oid] = p.polroles where p.polrelid = %s",
            [table["oid"]],
        ).fetchall()
        assert sorted(p["rolname"] for p in policies) == sorted(ROLES), table["relname"]
        for p in policies:
            own = f"({key_of(table['relname'])} = ( SELECT acting_merchant() AS acting_merchant))"
            rows = own if p["rolname"] == "postbox_api" else "true"
            assert (p["command"], p["qual"], p["written"]) == ("*", rows, rows), (table["relname"], p["polname"])


def test_no_runtime_role_and_no_owner_of_ours_bypasses_the_policies(conn: Connection) -> None:
    rows = conn.execute("select rolname from pg_roles where rolname like 'postbox%%' and (rolbypassrls or rolsuper)")
    assert rows.fetchall() == []


def test_the_api_reads_no_view_that_runs_with_its_owners_eyes(conn: Connection) -> None:
    rows = conn.execute(
        "select c.oid::regclass::text as name from pg_class c where c.relkind in ('v', 'm')"
        " and c.relnamespace in ('postbox'::regnamespace, 'report_v1'::regnamespace)"
        " and has_table_privilege('postbox_api', c.oid, 'SELECT')"
        " and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on']"
    )
    assert rows.fetchall() == []


# What the API may ask beyond its merchant, and why nothing of a tenant is in the answer.
BEYOND = {
    "authenticate": "comes before a merchant is known, and asks for the id of a key",
    "take_token": "comes before a merchant is known, and tells the holder of a key what is left of its own buckets",
    "begin_sign_in": "comes before a person is known, and asks for a name",
    "open_session": "the door of /ops/v1, for what a person has proven; no merchant's row",
    "take_sign_in_token": "the bucket of an address, which is nobody's row",
    "note_refused_sign_in": "counts and audits an attempt to sign in, of no merchant",
    "webhook_owner": "the receiver finds the merchant it acts for",
    "webhooks_came_late": "looks at what the acting merchant's account told, and wakes the comparing of their payments",
    "webhook_came_late": "looks at what the acting merchant's account told, and wakes the comparing of its payment",
    "payment_webhooks": "looks at the acting merchant's payment only",
    "queue_backlog": "sums over all merchants, by handler",
    "outcomes_unknown": "sums over all merchants",
    "oldest_runnable": "one age over all merchants",
    "discrepancies_open": "sums over all merchants, by kind",
    "debts_of_merchants": "sums over all merchants, by currency",
}


def test_the_api_may_execute_no_definer_function_but_these(conn: Connection) -> None:
    rows = conn.execute(
        "select proname from pg_proc where pronamespace = 'postbox'::regnamespace and prosecdef"
        " and has_function_privilege('postbox_api', oid, 'EXECUTE')"
    )
    assert {row["proname"] for row in rows} == set(BEYOND)


# -- keys that stay within a tenant -----------------------------------------------------------------------------

# Foreign keys between tenant tables that do not lead with merchant_id on both sides.
ACROSS = {
    "ledger_lines_account_exists": "a merchant's entry has lines on the platform's accounts; only a function writes it"
}


def test_no_foreign_key_lets_a_row_point_at_another_merchants(conn: Connection) -> None:
    rows = conn.execute(
        f"with tenant as ({TENANT_TABLES})"
        " select k.conname, (select attname from pg_attribute where attrelid = k.conrelid and attnum = k.conkey[1])"
        "   as here,"
        " (select attname from pg_attribute where attrelid = k.confrelid and attnum = k.confkey[1]) as there,"
        " k.confrelid::regclass::text as target"
        " from pg_constraint k where k.contype = 'f' and k.conrelid in (select oid from tenant)"
        " and k.confrelid in (select oid from tenant)"
    ).fetchall()
    assert len(rows) > 15
    wrong = {r["conname"] for r in rows if (r["here"], r["there"]) != ("merchant_id", key_of(r["target"]))}
    assert wrong == set(ACROSS)


# Columns that name a row of a tenant table without a foreign key.
HINTS = {
    "audit_log.payment_id": "evidence is written whatever it is about; by triggers only",
    "deliveries.payment_id": "copied from the event, whose key holds it, by the fan-out trigger",
    "webhooks.payment_id": "what a stranger's body claims: a hint, believed by nobody",
    "ledger_lines.payment_id": "the entry's own, whose key holds it; written by a function only",
    "reconcile_due.payment_id": "copied from the row that made it due, whose key holds it, by the fan-out trigger",
}


def test_a_column_that_names_a_tenants_row_has_a_key_or_a_reason(conn: Connection) -> None:
    rows = conn.execute(
        f"with tenant as ({TENANT_TABLES})"
        " select t.relname || '.' || a.attname as name from tenant t join pg_attribute a on a.attrelid = t.oid"
        " where a.attname in ('payment_id', 'operation_id', 'event_id', 'webhook_id', 'entry_id', 'refund_id',"
        " 'dispute_id')"
        " and not exists (select from pg_constraint k where k.conrelid = t.oid and k.contype = 'f'"
        "                 and a.attnum = any(k.conkey))"
    )
    assert {row["name"] for row in rows} == set(HINTS)


# Unique indexes of tenant tables that look across tenants: a duplicate would tell of another tenant's row.
GLOBAL = {
    "merchants_pkey": "the tenant itself",
    "payments_provider_ref_is_global": "a provider's object is one payment's; only the worker writes the column",
    "refunds_provider_ref_is_global": "a provider's refund is one refund's; only the worker writes the column",
    "disputes_provider_ref_is_global": "a provider's dispute is one dispute's; only the worker writes the table",
    "provider_transactions_ref_is_global": "a provider's line is stored once; only the worker writes the table",
    "api_keys_id_names_one_key": "a key id is looked up before its merchant is known; only operators write it",
    "provider_accounts_has_one_owner": "an account is one merchant's; only operators write it",
}


def test_every_unique_index_leads_with_the_tenant_or_is_out_of_the_apis_reach(conn: Connection) -> None:
    rows = conn.execute(
        f"with tenant as ({TENANT_TABLES})"
        " select i.indexrelid::regclass::text as name, i.indrelid::regclass::text as of_table,"
        "   array(select a.attname::text from pg_attribute a where a.attrelid = i.indrelid"
        "         and a.attnum = any(i.indkey)) as columns"
        " from pg_index i where i.indisunique and i.indrelid in (select oid from tenant)"
        " and (select attname from pg_attribute where attrelid = i.indrelid and attnum = i.indkey[0]) <> 'merchant_id'"
    ).fetchall()
    assert {row["name"] for row in rows} == set(GLOBAL)
    for row in rows:
        may = conn.execute(
            "select bool_and(has_column_privilege('postbox_api', %(t)s, c, 'INSERT')) as inserted,"
            " bool_or(has_column_privilege('postbox_api', %(t)s, c, 'UPDATE')) as updated from unnest(%(c)s::text[]) c",
            {"t": row["of_table"], "c": row["columns"]},
        ).fetchone()
        assert may == {"inserted": False, "updated": False}, row["name"]
