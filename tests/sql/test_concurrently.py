"""Indexes are built and dropped beside the traffic, and one that is not valid is never taken for one that is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from app.db import concurrently
from app.db import migrate as runner
from app.db.migrate import migrate, pending
from app.db.scripts import MigrationError
from tests import factories
from tests.fixtures.database import Clone
from tests.gateway.waiting import until
from tests.sql.releases import add_migration, exists, release

__all__ = ["release"]


def is_valid(database: Clone, index: str) -> bool:
    found = "select indisvalid as valid from pg_index where indexrelid = to_regclass(%s)"
    return database.connect(admin=True).execute(found, [index]).fetchone() == {"valid": True}


def test_an_index_is_built_concurrently_outside_a_transaction(database: Clone, release: Path) -> None:
    index = "create index concurrently if not exists payments_by_fee on payments (fee);"
    add_migration(release, f"-- postbox: no-transaction\n{index}")
    migrate(database.admin_url)
    assert exists(database, "postbox.payments_by_fee")


def test_a_file_outside_a_transaction_holds_one_statement(database: Clone, release: Path) -> None:
    add_migration(release, "-- postbox: no-transaction\ncreate table one (id int); vacuum payments;")
    with pytest.raises(MigrationError):
        migrate(database.admin_url)
    assert not exists(database, "postbox.one")


def test_an_index_waits_for_older_snapshots_however_long(
    database: Clone, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migration(
        release, "-- postbox: no-transaction\ncreate index concurrently if not exists by_fee on payments (fee);"
    )
    monkeypatch.setattr(runner, "LOCK_TIMEOUT_MS", 20)
    dump, watch = database.connect(admin=True, autocommit=False), database.connect(admin=True)
    dump.execute("set transaction isolation level repeatable read")
    dump.execute("select from payments")
    with psycopg.connect(database.admin_url) as serving:
        due = pending(serving)
    migrator = threading.Thread(target=migrate, args=(database.admin_url,))
    migrator.start()
    waits = (
        "select from pg_stat_activity where datname = current_database() and application_name = 'postbox migrate'"
        " and wait_event_type = 'Lock' and query_start < clock_timestamp() - interval '100 ms'"
    )
    until(lambda: watch.execute(waits).rowcount or not migrator.is_alive(), "it waits longer than any other migration")
    with psycopg.connect(database.admin_url) as serving:
        assert pending(serving) == due, "who serves stays ready"
    dump.rollback()
    migrator.join()
    assert is_valid(database, "postbox.by_fee")


def test_what_is_left_of_an_index_is_not_taken_for_it(database: Clone, release: Path) -> None:
    admin = database.connect(admin=True)
    factories.payment(admin), factories.payment(admin)
    index = "-- postbox: no-transaction\ncreate {}index concurrently if not exists by_currency on payments (currency);"
    added = add_migration(release, index.format("unique "))
    with pytest.raises(MigrationError, match="duplicate"):
        migrate(database.admin_url)
    assert exists(database, "postbox.by_currency") and not is_valid(database, "postbox.by_currency")
    (release / added).write_text(index.format(""))
    migrate(database.admin_url)
    assert is_valid(database, "postbox.by_currency")


@contextmanager
def being_built(database: Clone, index: str) -> Iterator[Callable[[], None]]:
    """Somebody builds this index and waits for an older snapshot meanwhile; yields what cuts that short."""
    dump, builder, watch = (database.connect(admin=True, autocommit=n > 0) for n in range(3))
    dump.execute("set transaction isolation level repeatable read")
    dump.execute("select from payments")
    with ThreadPoolExecutor(1) as other:
        build = other.submit(builder.execute, index.encode())
        # not as soon as there is an index that is not valid: until it waits it may come to wait for whoever came since
        waits = "select from pg_stat_activity where pid = %s and wait_event = 'virtualxid'"
        until(
            lambda: build.done() or watch.execute(waits, [builder.info.backend_pid]).rowcount,
            "the builder waits for it",
        )

        def cut_short() -> None:
            builder.cancel()
            assert isinstance(build.exception(), psycopg.errors.QueryCanceled)

        try:
            yield cut_short
        finally:
            dump.rollback()
        assert isinstance(build.exception(), psycopg.errors.QueryCanceled | None), build.exception()


BY_CURRENCY = "create index concurrently if not exists by_currency on payments (currency);"


def test_an_index_that_is_recorded_and_not_valid_is_built_again(database: Clone, release: Path) -> None:
    admin, told = database.connect(admin=True), list[str]()
    added = add_migration(release, f"-- postbox: no-transaction\n{BY_CURRENCY}")
    with being_built(database, BY_CURRENCY) as cut_short:
        cut_short()
    record = "insert into schema_migrations (name, sha256) values (%s, %s)"
    admin.execute(record, [added, sha256((release / added).read_bytes()).hexdigest()])
    assert migrate(database.admin_url, report=told.append) == []
    assert (is_valid(database, "postbox.by_currency"), told) == (
        True,
        ["postbox.by_currency is not valid: built again"],
    )


def test_an_index_that_cannot_be_built_again_stops_the_release_by_its_name(database: Clone) -> None:
    admin = database.connect(admin=True)
    factories.payment(admin), factories.payment(admin)
    with pytest.raises(psycopg.errors.UniqueViolation):
        admin.execute(BY_CURRENCY.replace("create", "create unique").encode())
    for left_over in ([], ["postbox.by_currency_ccnew is not valid: dropped"]):
        told: list[str] = []
        with pytest.raises(MigrationError, match=r"the index postbox\.by_currency .* \(could not create unique"):
            migrate(database.admin_url, report=told.append)
        assert told == [*left_over, "postbox.by_currency is not valid: built again"]


def test_who_gives_way_on_its_table_as_an_autovacuum_does_is_waited_for(database: Clone) -> None:
    admin, told = database.connect(admin=True), list[str]()
    with being_built(database, BY_CURRENCY) as cut_short:
        cut_short()
    vacuum = database.connect(admin=True, autocommit=False)
    vacuum.execute("lock table payments in share update exclusive mode")
    with ThreadPoolExecutor(1) as other:
        migrating = other.submit(migrate, database.admin_url, report=told.append)
        waits = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        until(lambda: migrating.done() or admin.execute(waits).rowcount, "the migrator waits for it")
        vacuum.rollback()
        assert migrating.result() == []
    assert (is_valid(database, "postbox.by_currency"), told) == (
        True,
        ["postbox.by_currency is not valid: built again"],
    )


def test_an_index_that_has_become_valid_while_its_table_was_waited_for_is_left_alone(database: Clone) -> None:
    admin, told = database.connect(admin=True), list[str]()
    waits = (
        "select from pg_stat_activity where datname = current_database() and application_name = 'postbox migrate'"
        " and wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as other:
        with being_built(database, BY_CURRENCY):
            migrating = other.submit(migrate, database.admin_url, report=told.append)
            until(lambda: migrating.done() or admin.execute(waits).rowcount, "the migrator waits for who builds it")
        assert migrating.result() == []
    assert (is_valid(database, "postbox.by_currency"), told) == (True, [])


def test_who_waits_for_the_migrator_on_that_table_is_left_to_it(database: Clone) -> None:
    """As a builder may, for all that began before: the two would wait for each other."""
    admin, told = database.connect(admin=True), list[str]()
    with being_built(database, BY_CURRENCY) as cut_short:
        cut_short()
    builder = database.connect(admin=True, autocommit=False)
    # the migrator finds it out first
    builder.execute("set local deadlock_timeout = '1min'")
    builder.execute("lock table payments in share update exclusive mode")
    with ThreadPoolExecutor(1) as other:
        migrating = other.submit(migrate, database.admin_url, report=told.append)
        waits = "select from pg_stat_activity where datname = current_database() and wait_event = 'relation'"
        until(lambda: migrating.done() or admin.execute(waits).rowcount, "the migrator waits for it")
        builder.execute("select pg_advisory_lock(%s)", [runner.ADVISORY_LOCK])
        assert migrating.result() == []
    assert told == ["postbox.by_currency is not valid: left to who is at work on its table"]


def test_an_index_that_somebody_is_building_is_theirs(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrently, "YIELD_TIMEOUT_MS", 100)
    monkeypatch.setattr(concurrently, "LOCK_TIMEOUT_MS", 500)
    told: list[str] = []
    with being_built(database, BY_CURRENCY):
        assert migrate(database.admin_url, report=told.append) == []
    assert is_valid(database, "postbox.by_currency")
    assert told == ["postbox.by_currency is not valid: left to who is at work on its table"]


def test_an_index_that_somebody_is_dropping_is_theirs(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrently, "YIELD_TIMEOUT_MS", 100)
    monkeypatch.setattr(concurrently, "LOCK_TIMEOUT_MS", 500)
    admin, told = database.connect(admin=True), list[str]()
    admin.execute(BY_CURRENCY.encode())
    with being_built(database, "drop index concurrently by_currency"):
        assert migrate(database.admin_url, report=told.append) == []
    assert told == ["postbox.by_currency is not valid: left to who is at work on its table"]
    assert not exists(database, "postbox.by_currency")
