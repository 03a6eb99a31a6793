"""The conventions of sql/README.md, read from the catalog."""

from __future__ import annotations

import re

import pytest

from app.config import SQL_DIR
from tests.factories import Connection

OURS = "('postbox'::regnamespace, 'report_v1'::regnamespace)"
DEFINER_PATH = "search_path=postbox, procrastinate, pg_temp"


def column(conn: Connection, statement: str) -> list[str]:
    return [next(iter(row.values())) for row in conn.execute(statement)]


def test_every_table_and_view_has_a_comment(conn: Connection) -> None:
    silent = column(
        conn,
        f"select oid::regclass::text from pg_class where relnamespace in {OURS} and relkind in ('r', 'v', 'p')"
        " and obj_description(oid, 'pg_class') is null",
    )
    assert silent == []


def test_every_function_has_a_comment_and_lives_in_our_schema(conn: Connection) -> None:
    silent = column(
        conn,
        f"select oid::regprocedure::text from pg_proc where pronamespace in {OURS}"
        " and obj_description(oid, 'pg_proc') is null",
    )
    assert silent == []


def test_a_moment_is_a_timestamptz_and_ends_in_at(conn: Connection) -> None:
    wrong = column(
        conn,
        "select a.attrelid::regclass || '.' || attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        f" where c.relnamespace in {OURS} and c.relkind = 'r' and attnum > 0 and not attisdropped"
        " and (attname like '%%\\_at') <> (atttypid = 'timestamptz'::regtype)",
    )
    # names that a provider or the language gave: a day, a deadline, a whole second, the time of a provider
    other = re.compile(r"available_on|_before|second|_since|created_at_provider")
    assert [name for name in wrong if not other.search(name)] == []


@pytest.mark.parametrize("kind", ["json", "timestamp", "time", "money", "real", "double precision", "numeric", "char"])
def test_no_column_has_a_type_that_loses_something(conn: Connection, kind: str) -> None:
    wrong = column(
        conn,
        "select a.attrelid::regclass || '.' || attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        f" where c.relnamespace = 'postbox'::regnamespace and c.relkind = 'r' and atttypid = '{kind}'::regtype",
    )
    assert wrong == []


def test_money_is_bigint(conn: Connection) -> None:
    wrong = column(
        conn,
        "select a.attrelid::regclass || '.' || attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'postbox'::regnamespace and c.relkind = 'r' and atttypid <> 'bigint'::regtype"
        " and (attname like 'amount%%' or attname in ('fee', 'gross', 'net', 'minimum', 'maximum'))",
    )
    assert wrong == []


@pytest.mark.parametrize("path", sorted((SQL_DIR / "migrations").glob("*.sql")), ids=lambda path: path.stem)
def test_every_foreign_key_says_what_happens_on_delete(path: object) -> None:
    text = re.sub(r"--.*", "", path.read_text())  # type: ignore[attr-defined]
    silent = [m.group(0) for m in re.finditer(r"\breferences\s+\w+\s*(\([^)]*\))?(?!\s*on delete)[^\n]*", text)
              if "on delete" not in m.group(0)]  # fmt: skip
    assert silent == []


def test_no_foreign_key_deletes_anything(conn: Connection) -> None:
    wrong = column(
        conn,
        "select conname from pg_constraint where connamespace = 'postbox'::regnamespace and contype = 'f'"
        " and confdeltype <> 'r'",
    )
    assert wrong == []


LEADS = "join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]"
TENANT_TABLES = (
    "select c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'merchant_id'"
    " where c.relnamespace = 'postbox'::regnamespace and c.relkind = 'r'"
)


def test_the_tenant_leads_every_primary_and_foreign_key(conn: Connection) -> None:
    wrong = column(
        conn,
        f"select k.conname from pg_constraint k {LEADS}"
        f" where k.contype in ('p', 'u') and k.conrelid in ({TENANT_TABLES}) and a.attname <> 'merchant_id'"
        f" union all select k.conname from pg_constraint k {LEADS}"
        f" where k.contype = 'f' and k.conrelid in ({TENANT_TABLES}) and k.confrelid in ({TENANT_TABLES})"
        " and a.attname <> 'merchant_id'",
    )
    # a merchant's entry has lines on the platform's accounts, so a line names the account's owner as well as its own
    assert wrong == ["ledger_lines_account_exists"]


# A provider's reference is one in the world, and only the worker can write it; an account has one owner; a key id
# is looked up before its merchant is known.
GLOBAL = {
    "payments_provider_ref_is_global", "refunds_provider_ref_is_global", "disputes_provider_ref_is_global",
    "provider_accounts_has_one_owner", "api_keys_id_names_one_key", "provider_transactions_ref_is_global",
}  # fmt: skip


def test_only_six_unique_indexes_look_across_tenants(conn: Connection) -> None:
    found = column(
        conn,
        "select i.indexrelid::regclass::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid"
        f" and a.attnum = i.indkey[0] where i.indisunique and i.indrelid in ({TENANT_TABLES})"
        " and a.attname <> 'merchant_id'",
    )
    assert set(found) == GLOBAL


def test_every_definer_function_pins_its_search_path(conn: Connection) -> None:
    wrong = column(
        conn,
        "select oid::regprocedure::text from pg_proc where pronamespace = 'postbox'::regnamespace and prosecdef"
        f" and not coalesce(proconfig, '{{}}') @> array['{DEFINER_PATH}']",
    )
    assert wrong == []


def test_every_definer_trigger_function_looks_at_the_table_it_serves(conn: Connection) -> None:
    wrong = column(
        conn,
        "select proname from pg_proc where pronamespace = 'postbox'::regnamespace and prosecdef"
        " and prorettype = 'trigger'::regtype and prosrc !~ 'tg_relid <> ''postbox\\.[a-z_]+''::regclass'",
    )
    assert wrong == []


def test_every_trigger_is_named_after_its_table_and_place(conn: Connection) -> None:
    rows = conn.execute(
        "select c.relname, t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
        " where c.relnamespace = 'postbox'::regnamespace and not t.tgisinternal"
    ).fetchall()
    assert rows
    for row in rows:
        assert re.fullmatch(rf"{row['relname']}_(200|500|700|900)_[a-z_]+", row["tgname"]), row


def test_every_check_is_a_sentence(conn: Connection) -> None:
    """Named by hand: PostgreSQL's own name ends in _check."""
    wrong = column(
        conn,
        "select conname from pg_constraint where connamespace = 'postbox'::regnamespace and contype = 'c'"
        " and (conname like '%%\\_check' or conname like '%%\\_check_')",
    )
    assert wrong == []


def test_a_view_shows_no_more_than_its_reader_may_see_or_is_a_barrier(conn: Connection) -> None:
    wrong = column(
        conn,
        f"select oid::regclass::text from pg_class where relnamespace in {OURS} and relkind = 'v'"
        " and not coalesce(reloptions, '{}') && array['security_invoker=true', 'security_barrier=true',"
        " 'security_invoker=on', 'security_barrier=on']",
    )
    assert wrong == []


@pytest.mark.parametrize("path", sorted(SQL_DIR.rglob("*.sql")), ids=lambda path: path.relative_to(SQL_DIR).as_posix())
def test_keywords_are_lower_case(path: object) -> None:
    if path.name == "schema.sql":  # type: ignore[attr-defined]
        return
    text = re.sub(r"--.*|'[^']*'", "", path.read_text())  # type: ignore[attr-defined]
    assert re.findall(r"\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE|CREATE|TABLE|BEGIN|END|AND|NOT|NULL)\b", text) == []
