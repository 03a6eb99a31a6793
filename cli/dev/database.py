"""The development database on the embedded cluster: created, opened to one login, kept running."""

import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from app.db.network import bounded
from cli.dev.postgres import Cluster, ClusterError
from cli.dev.postgres_data import derive_password

DATABASE = "postbox"

# The login of web and worker: it owns nothing and inherits nothing; `postbox migrate` lets
# it take on one of the runtime roles at a time.
LOGIN = "postbox_app"

POLL_SECONDS = 1.0


def create_database(cluster: Cluster) -> None:
    """Create the database and the login; nothing happens when they exist."""
    with psycopg.connect(bounded(cluster.url()), autocommit=True) as conn:
        if not conn.execute("select 1 from pg_roles where rolname = %s", [LOGIN]).fetchone():
            conn.execute(sql.SQL("create role {} login noinherit").format(sql.Identifier(LOGIN)))
        password = sql.Literal(cluster.password(LOGIN))
        conn.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(LOGIN), password))
        if not conn.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))


def is_own_url(root: Path, url: str) -> bool:
    """Say whether a DATABASE_URL is the one we wrote ourselves, sourced from dev.env by a person."""
    secret = root / "postgres" / "secret"
    if not url or not secret.exists():
        return False
    known = derive_password(secret.read_text().strip(), LOGIN)
    return f"{LOGIN}:{known}@127.0.0.1:" in url


class DatabaseKeeper:
    """Starts the cluster again when its server is gone, until stop()."""

    def __init__(self, cluster: Cluster, report: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._report = report
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper-postgres", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, then stop the server."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._cluster.stop()

    def _run(self) -> None:
        told = ""
        while not self._stopping.wait(POLL_SECONDS):
            if self._cluster.is_running():
                continue
            try:
                self._cluster.start()
                self._report("PostgreSQL was gone and runs again")
                told = ""
            except (ClusterError, OSError) as e:
                if str(e) != told:
                    self._report(told := str(e))
