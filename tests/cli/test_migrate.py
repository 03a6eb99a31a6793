"""`postbox migrate` brings an empty database up and says what is pending; a database that is away is one line."""

from __future__ import annotations

from app.db.scripts import repeatables
from tests.cli.conftest import Postbox
from tests.fixtures.cluster import LOGIN
from tests.fixtures.database import Clone


def test_a_migrated_database_has_nothing_pending(postbox: Postbox) -> None:
    assert postbox("migrate", "--check").out == "up to date\n"
    assert postbox("migrate").out == "up to date\n"


def test_a_changed_file_is_pending_until_it_is_applied(postbox: Postbox, database: Clone) -> None:
    name = repeatables()[-1].name
    with database.connect(admin=True) as connection:
        connection.execute("update schema_migrations set sha256 = 'other' where name = %s", [name])
    check = postbox("migrate", "--check")
    assert (check.code, check.out) == (1, f"pending {name}\n")
    assert postbox("migrate").out == f"{name}\n1 applied\n"
    assert postbox("migrate", "--check").code == 0


def test_a_database_that_is_away_is_one_line_and_exit_code_1(postbox: Postbox, database: Clone) -> None:
    away = database.admin_url.replace(f"dbname={database.name}", "dbname=nowhere").replace(
        f"/{database.name}", "/nowhere"
    )
    answer = postbox("migrate", DATABASE_URL=away, POSTBOX_MIGRATION_URL=away)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "Error: the database cannot be reached: check DATABASE_URL and that the server runs\n"


def test_no_database_url_is_one_line(postbox: Postbox) -> None:
    answer = postbox("migrate", DATABASE_URL=None)
    assert (answer.code, answer.err) == (1, "Error: DATABASE_URL is not set\n")


def test_a_database_that_was_never_migrated_says_so(postbox: Postbox, database: Clone) -> None:
    empty = database.cluster.url("postgres", LOGIN)
    answer = postbox("payments", "list", DATABASE_URL=empty)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: the database is not ready for this login")
    assert answer.err.endswith("run `postbox migrate`\n")
