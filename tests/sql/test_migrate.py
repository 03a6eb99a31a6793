"""The runner of sql/: ordered and once, repeatable when changed, all or nothing, and it checks what it leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.config import SQL_DIR
from app.db import migrate as runner
from app.db.migrate import login_of, migrate, pending
from app.db.scripts import MigrationError, read_script
from tests import factories
from tests.fixtures.cluster import LOGIN
from tests.fixtures.database import Clone
from tests.sql.releases import add_migration, empty, exists, release

__all__ = ["empty", "release"]
RUNTIME = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance")


def test_everything_is_applied_once_in_order(empty: Clone) -> None:
    applied = migrate(empty.admin_url)
    functions = sorted(p.name for p in (SQL_DIR / "functions").glob("*.sql"))
    reports = sorted(p.name for p in (SQL_DIR / "reports").glob("*.sql"))
    assert applied == [
        *(f"migrations/{p.name}" for p in sorted((SQL_DIR / "migrations").glob("*.sql"))),
        *(f"functions/{name}" for name in functions), "triggers.sql", *(f"reports/{name}" for name in reports),
        "statistics.sql", "policies.sql", "grants.sql",
    ]  # fmt: skip
    assert migrate(empty.admin_url) == []


def test_the_form_in_which_a_file_was_applied_is_recorded(database: Clone) -> None:
    rows = database.connect(admin=True).execute("select name, sha256 from schema_migrations").fetchall()
    assert {r["name"]: r["sha256"] for r in rows} == {
        path.relative_to(SQL_DIR).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in SQL_DIR.rglob("*.sql")
        if path.parent.name in ("migrations", "functions", "reports")
        or path.name in ("triggers.sql", "statistics.sql", "policies.sql", "grants.sql")
    }


def test_an_applied_migration_that_was_edited_is_refused(database: Clone, release: Path) -> None:
    edited = release / "migrations" / "0004_payments.sql"
    edited.write_text(edited.read_text() + "-- one more thought\n")
    added = add_migration(release, "create table extra (id int);")
    with pytest.raises(MigrationError, match="0004_payments"):
        migrate(database.admin_url)
    assert not exists(database, "postbox.extra"), added


def test_a_database_ahead_of_this_release_is_refused(database: Clone, release: Path) -> None:
    added = add_migration(release, "create table extra (id int);")
    migrate(database.admin_url)
    (release / added).unlink()
    with pytest.raises(MigrationError, match="ahead"):
        migrate(database.admin_url)


def test_migrations_are_numbered_one_by_one(database: Clone, release: Path) -> None:
    (release / "migrations" / "0099_gap.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match="0099"):
        migrate(database.admin_url)


def test_a_changed_function_is_applied_again_and_grants_after_it(database: Clone, release: Path) -> None:
    changed = release / "functions" / "acting.sql"
    changed.write_text(changed.read_text() + "-- one more thought\n")
    assert migrate(database.admin_url) == ["functions/acting.sql", "grants.sql"]


def test_what_was_counted_of_a_table_is_left_and_of_others_one_merchant_is_supposed(
    database: Clone, release: Path
) -> None:
    conn = database.connect(admin=True)
    for _ in range(2):
        factories.api_key(conn, factories.merchant(conn)["id"])
    conn.execute("analyze api_keys")
    changed = release / "statistics.sql"
    changed.write_text(changed.read_text() + "-- one more thought\n")
    assert migrate(database.admin_url) == ["statistics.sql", "grants.sql"]
    rows = conn.execute(
        "select tablename, n_distinct from pg_stats"
        " where attname = 'merchant_id' and tablename in ('api_keys', 'payments')"
    )
    # below nothing it is a share of the rows: each has another
    assert {row["tablename"]: row["n_distinct"] for row in rows} == {"api_keys": -1, "payments": 1}


def test_a_new_table_has_its_grants_when_nothing_else_changed(database: Clone, release: Path) -> None:
    added = add_migration(release, "create table extra (id int);")
    assert migrate(database.admin_url) == [added, "statistics.sql", "policies.sql", "grants.sql"]
    conn = database.connect()
    conn.execute("set role postbox_worker")
    assert conn.execute("select from extra").fetchall() == []


def test_changed_triggers_stay_always_enabled(database: Clone, release: Path) -> None:
    changed = release / "triggers.sql"
    changed.write_text(changed.read_text() + "-- one more thought\n")
    assert migrate(database.admin_url) == ["triggers.sql", "grants.sql"]
    weak = "select from pg_trigger where tgrelid = 'payments'::regclass and not tgisinternal and tgenabled <> 'A'"
    assert database.connect(admin=True).execute(weak).fetchall() == []


def test_a_failing_migration_leaves_nothing_half_applied(database: Clone, release: Path) -> None:
    good = add_migration(release, "create table good (id int);")
    bad = add_migration(release, "create table half (id int); insert into half values ('x');")
    with pytest.raises(MigrationError, match=bad):
        migrate(database.admin_url)
    assert (exists(database, "postbox.good"), exists(database, "postbox.half")) == (True, False)
    (release / bad).write_text("create table half (id int);")
    assert migrate(database.admin_url) == [bad, "statistics.sql", "policies.sql", "grants.sql"], good


def test_a_release_that_failed_half_way_has_its_grants_after_the_next_run(database: Clone, release: Path) -> None:
    """The tables of the part that went well must not stay closed to everybody."""
    add_migration(release, "create table good (id int);")
    bad = add_migration(release, "select 1/0;")
    with pytest.raises(MigrationError):
        migrate(database.admin_url)
    (release / bad).unlink()
    migrate(database.admin_url)
    conn = database.connect()
    conn.execute("set role postbox_worker")
    assert conn.execute("select from good").fetchall() == []


# -- markers ----------------------------------------------------------------------------------------------------


def test_an_unknown_marker_is_refused(database: Clone, release: Path) -> None:
    add_migration(release, "-- postbox: no-transactions\nselect 1;")
    with pytest.raises(MigrationError, match="no-transactions"):
        migrate(database.admin_url)


def test_a_search_path_is_for_one_file_only(database: Clone, release: Path) -> None:
    add_migration(release, "-- postbox: search-path procrastinate\ncreate table there (id int);")
    add_migration(release, "create table here (id int);")
    migrate(database.admin_url)
    assert exists(database, "procrastinate.there")
    assert exists(database, "postbox.here")


def test_what_a_migration_makes_belongs_to_the_owner(database: Clone, release: Path) -> None:
    add_migration(release, "create table extra (id int);")
    migrate(database.admin_url)
    rows = database.connect(admin=True).execute(
        "select c.oid::regclass::text as name, r.rolname as owner from pg_class c join pg_roles r on r.oid = c.relowner"
        " where c.relnamespace in ('postbox'::regnamespace, 'procrastinate'::regnamespace, 'report_v1'::regnamespace)"
        " and r.rolname <> 'postbox_owner'"
    )
    assert rows.fetchall() == []


def test_an_included_file_comes_from_the_installed_package() -> None:
    script = read_script(SQL_DIR / "migrations" / "0002_procrastinate.sql")
    assert "procrastinate_fetch_job" in script.text
    assert script.sha256 == sha256((SQL_DIR / "migrations" / "0002_procrastinate.sql").read_bytes()).hexdigest()


# -- locks ------------------------------------------------------------------------------------------------------

ALTER = "alter table payments add column added text;"


def test_a_migration_steps_back_from_a_lock_and_tries_again(
    database: Clone, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migration(release, ALTER)
    monkeypatch.setattr(runner, "LOCK_TIMEOUT_MS", 20)
    holder = database.connect(admin=True, autocommit=False)
    holder.execute("lock table payments in access share mode")
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            holder.rollback()

    monkeypatch.setattr(runner.time, "sleep", let_go)
    migrate(database.admin_url)
    assert len(waits) == 2


def test_a_lock_that_is_never_given_back_is_an_error(
    database: Clone, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migration(release, ALTER)
    monkeypatch.setattr(runner, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(runner, "LOCK_TRIES", 3)
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: None)
    holder = database.connect(admin=True, autocommit=False)
    holder.execute("lock table payments in access share mode")
    with pytest.raises(MigrationError, match="no lock after 3 tries"):
        migrate(database.admin_url)


def test_two_migrators_at_once_apply_everything_once(empty: Clone) -> None:
    results: list[Any] = [None, None]

    def run(place: int) -> None:
        results[place] = migrate(empty.admin_url)

    threads = [threading.Thread(target=run, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, results)) == [False, True]


# -- what it leaves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disable", "enable", "enable replica"])
def test_a_guard_that_is_not_always_enabled_stops_the_release(database: Clone, how: str) -> None:
    database.connect(admin=True).execute(f"alter table payments {how} trigger payments_200_check")
    with pytest.raises(MigrationError, match=r"payments\.payments_200_check"):
        migrate(database.admin_url)


def test_a_queue_that_notifies_on_insert_stops_the_release(database: Clone) -> None:
    database.connect(admin=True).execute(
        "alter table procrastinate_jobs enable trigger procrastinate_jobs_notify_queue_job_inserted_v1"
    )
    with pytest.raises(MigrationError, match="insert trigger"):
        migrate(database.admin_url)


def epochs(database: Clone) -> dict[str, int]:
    row = (
        database.connect(admin=True)
        .execute("select current_epoch() as now, (select count(*)::int from database_epochs) as known")
        .fetchone()
    )
    assert row is not None
    return row


def test_another_cluster_is_another_epoch(database: Clone) -> None:
    assert epochs(database) == {"now": 1, "known": 1}
    database.connect(admin=True).execute("update database_epochs set system_identifier = 'another cluster'")
    for _ in range(2):
        migrate(database.admin_url)
        assert epochs(database) == {"now": 2, "known": 2}


def test_an_event_carries_the_new_epoch(database: Clone) -> None:
    conn = database.connect(admin=True)
    conn.execute("update database_epochs set system_identifier = 'another cluster'")
    migrate(database.admin_url)
    p = factories.payment(conn)
    row = conn.execute(
        "select e.epoch as event, a.epoch as audit from events e join audit_log a using (payment_id)"
        " where payment_id = %s",
        [p["id"]],
    ).fetchone()
    assert row == {"event": 2, "audit": 2}


def test_a_restored_database_is_closed_to_temporary_tables_again(database: Clone) -> None:
    admin = database.connect(admin=True)
    admin.execute(sql.SQL("grant temporary on database {} to public").format(sql.Identifier(database.name)))
    migrate(database.admin_url)
    row = admin.execute("select has_database_privilege('public', current_database(), 'TEMP') as may").fetchone()
    assert row == {"may": False}


def test_the_login_may_set_the_runtime_roles_and_inherits_none(database: Clone) -> None:
    migrate(database.admin_url, runtime_login=LOGIN)
    rows = database.connect(admin=True).execute(
        "select r.rolname as role, m.inherit_option as inherits, m.set_option as sets, m.admin_option as grants"
        " from pg_auth_members m join pg_roles r on r.oid = m.roleid where m.member = %s::regrole",
        [LOGIN],
    )
    assert {r["role"]: (r["inherits"], r["sets"], r["grants"]) for r in rows} == dict.fromkeys(
        RUNTIME, (False, True, False)
    )


def test_readiness_is_read_as_a_runtime_role(database: Clone, release: Path) -> None:
    with psycopg.connect(database.url) as conn:
        conn.execute("set role postbox_api")
        assert pending(conn) == []
        added = add_migration(release, "select 1;")
        assert pending(conn) == [added]


@pytest.fixture
def migrator(empty: Clone) -> Iterator[str]:
    """The URL of a login that is no superuser: it owns the database and the roles, as at a hosting provider."""
    admin = empty.connect(admin=True)
    admin.execute("drop role if exists postbox_migrator")
    admin.execute(
        f"create role postbox_migrator login createrole password '{empty.cluster.password('postbox_migrator')}'"
    )
    for role in ("postbox_owner", *RUNTIME):
        admin.execute(f"grant {role} to postbox_migrator with admin true, inherit false, set true")
    admin.execute(sql.SQL("alter database {} owner to postbox_migrator").format(sql.Identifier(empty.name)))
    yield empty.cluster.url(empty.name, "postbox_migrator")
    admin.execute("reassign owned by postbox_migrator to postgres")
    admin.execute("drop owned by postbox_migrator cascade")
    admin.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(empty.name)))
    admin.execute("drop role postbox_migrator")


def test_a_login_that_is_no_superuser_can_migrate(migrator: str) -> None:
    assert migrate(migrator, runtime_login=LOGIN)[-1] == "grants.sql"
    assert migrate(migrator, runtime_login=LOGIN) == []


@pytest.mark.parametrize("url", ["postgresql://localhost/postbox", "host=localhost dbname=postbox"])
def test_a_url_without_a_user_is_refused(url: str) -> None:
    with pytest.raises(MigrationError):
        login_of(url)
