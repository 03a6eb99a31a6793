"""One login per role: each process does all of its work, and none can become another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from app.config import LOGIN_ROLES, SettingsError, load_settings
from app.db.migrate import migrate
from app.db.scripts import MigrationError
from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.model.actor import Actor, ActorType, Role
from cli.main import main
from tests import factories
from tests.fixtures.cluster import UNSAFE
from tests.fixtures.database import KEY_PEPPER, Clone
from tests.gateway.conftest import CARD, Api
from tests.jobs.processes import World, until, world

Logins = dict[str, str]
EVERYBODY = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance", "postbox_owner", "postgres")


@pytest.fixture
def here(cluster, template, tmp_path: Path) -> Iterator[World]:
    with world(cluster, template, tmp_path) as made:
        yield made


@pytest.fixture
def logins(here: World) -> Iterator[Logins]:
    """A login for each role, set up by `migrate`; roles are the cluster's, so these are dropped again."""
    cluster, names = here.database.cluster, {role: f"only_{role}_{os.getpid()}" for role in LOGIN_ROLES}
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        for name in names.values():
            made = sql.SQL("create role {} login noinherit password {}")
            connection.execute(made.format(sql.Identifier(name), sql.Literal(cluster.password(name))))
        try:
            migrate(here.database.admin_url, logins=names)
            yield names
        finally:
            here.kill_all()
            for name in names.values():
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def url(database: Clone, login: str) -> str:
    return database.cluster.url(database.name, login)


def become(database: Clone, login: str, role: str) -> bool:
    with psycopg.connect(url(database, login), autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


def test_a_login_becomes_its_own_role_and_no_other(here: World, logins: Logins) -> None:
    for role, login in logins.items():
        others = [name for name in EVERYBODY if name != f"postbox_{role}"]
        assert become(here.database, login, f"postbox_{role}")
        assert [name for name in others if become(here.database, login, name)] == []
        with (
            psycopg.connect(url(here.database, login)) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("select from postbox.payments")


@contextmanager
def serving(settings, database: Clone, logins: Logins, **more: str | None) -> Iterator[tuple[Api, object]]:
    app = create_app(replace(settings, database_url=url(database, logins["api"]), **more))
    connection = database.connect(admin=True)
    merchant = factories.merchant(connection)["id"]
    edge = app.extensions[EXTENSION]
    try:
        yield Api(app.test_client(), merchant, factories.api_key(connection, merchant, pepper=KEY_PEPPER)), edge
    finally:
        edge.door.close()
        edge.waker.close()
        edge.database.close()


def test_web_worker_and_command_line_do_their_work_as_themselves(here: World, logins: Logins, settings) -> None:
    here.worker(DATABASE_URL=url(here.database, logins["worker"]))
    with serving(settings, here.database, logins) as (api, _):
        payment = api.post("/v1/payments", CARD | {"return_url": "https://shop.example/back"}).get_json()
        until(lambda: api.get(f"/v1/payments/{payment['id']}").get_json()["state"] == "settled", here.tail)
        assert api.client.get("/readyz").status_code == 200
    env = UNSAFE | {"DATABASE_URL": url(here.database, logins["operator"]), "POSTBOX_OPERATOR": "ann"}
    for command in (["status"], ["trace", payment["id"]], ["check"]):
        ran = CliRunner().invoke(main, command, env=env)
        assert ran.exit_code == 0, ran.output
    used = here.all("select distinct usename as n from pg_stat_activity where datname = current_database()")
    assert {row["n"] for row in used} <= {*logins.values(), "postgres"}


def test_operators_have_a_way_of_their_own_through_the_web_process(here: World, logins: Logins, settings) -> None:
    who = "select session_user as login, current_user as role"
    with serving(settings, here.database, logins, operator_url=url(here.database, logins["operator"])) as (_, edge):
        edge.database.open()
        seen = [
            edge.database.transact(Actor(kind, "x", role), lambda tx: tx.connection.execute(who).fetchone())
            for kind, role in ((ActorType.API, Role.API), (ActorType.OPERATOR, Role.OPERATOR))
        ]
    assert [row["login"] for row in seen] == [logins["api"], logins["operator"]]
    assert [row["role"] for row in seen] == ["postbox_api", "postbox_operator"]


def test_migrate_takes_back_what_a_login_had_and_refuses_what_it_cannot(here: World, logins: Logins) -> None:
    migrate(here.database.admin_url, runtime_login=logins["api"])
    assert become(here.database, logins["api"], "postbox_worker")
    migrate(here.database.admin_url, logins=logins)
    assert not become(here.database, logins["api"], "postbox_worker")
    with pytest.raises(MigrationError, match="there is no such login"):
        migrate(here.database.admin_url, logins={"api": "nobody_at_all"})
    with pytest.raises(MigrationError, match="postgres may be more than postbox_api: superuser"):
        migrate(here.database.admin_url, logins={"api": "postgres"})
    here.connection.execute(sql.SQL("grant pg_read_all_data to {}").format(sql.Identifier(logins["worker"])))
    with pytest.raises(MigrationError, match="may be more than postbox_worker: pg_read_all_data"):
        migrate(here.database.admin_url, logins=logins)


@pytest.mark.parametrize("text", ["web", "api=", "=x", "owner=x", "api=a,api=b", "api=a,worker=a"])
def test_a_login_that_is_named_wrongly_is_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="POSTBOX_LOGINS must name one login for each of"):
        load_settings({"DATABASE_URL": "x", "POSTBOX_LOGINS": text})


def test_logins_are_named_by_role() -> None:
    named = load_settings({"DATABASE_URL": "x", "POSTBOX_LOGINS": "api=web, worker=jobs"}).logins
    assert named == {"api": "web", "worker": "jobs"}
