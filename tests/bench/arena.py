"""The place of one run: a durable PostgreSQL of its own, cloned databases, processes that end with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from app.config import ROOT, SANDBOX_API_KEY, Timing
from app.db import Database, Tx
from app.db.pool import Timeouts
from app.model.actor import Actor, ActorType, Role
from app.services.checks import INVARIANTS, Violation, violations
from app.services.reconciliation import compare, lock_due
from cli.dev.postgres import Cluster, ensure_cluster, remove_cluster
from cli.dev.postgres_process import is_alive
from tests.bench import disk
from tests.fixtures.cluster import LOGIN
from tests.fixtures.database import KEY_PEPPER, WEBHOOK_SECRET, Clone, clone, migrated

# Durable as it comes (DEFAULT_SETTINGS). The log is larger, so that no checkpoint falls into one variant alone;
# and memory, so that a database of forty gigabytes has in it what is asked for again, as the small one has.
# It looks at the clock around each flush of the log and each read, which take hundreds of times as long.
SETTINGS = MappingProxyType(
    {
        "max_wal_size": "4GB", "shared_buffers": "2GB", "checkpoint_timeout": "30min", "track_wal_io_timing": "on",
        "track_io_timing": "on",
    }
)  # fmt: skip
# While rows are copied and nothing is measured: no log of what would be made again, memory to sort whole indexes.
LOADING = MappingProxyType(
    {
        **SETTINGS, "wal_level": "minimal", "max_wal_senders": "0", "fsync": "off", "full_page_writes": "off",
        "synchronous_commit": "off", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "0",
        "autovacuum": "off",
    }
)  # fmt: skip
HOME = ROOT / ".postbox"
# SIGTERM to exit; the product promises 25 s.
DRAIN_SECONDS = 30
# Nothing listens there: what is measured without a provider must not find one.
NO_PROVIDER = "http://127.0.0.1:9"
COMPARED_AT_ONCE = 500
# An invariant is one statement over everything there is, which is forty gigabytes for a million payments.
PATIENT = Timeouts(statement=3_600_000, idle=3_600_000)
# Each reads all there is by itself, and few of them by more than one process.
CHECKERS = 2


@dataclass
class Arena:
    """Everything one run may use; closing it ends every process and removes every database."""

    cluster: Cluster
    directory: Path
    template: str
    time_scale: float = 1.0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    # How often so many invariants were held over a database, and whether nothing was left to do in it.
    checks: Counter[tuple[int, bool]] = field(default_factory=Counter)

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[Clone]:
        """A clone of a prepared database, and a checkpoint, so that each variant begins with the same log."""
        with contextmanager(clone)(self.cluster, template or self.template) as made:
            self.checkpoint()
            yield made

    def checkpoint(self) -> None:
        """What begins now pays for nothing that was written before."""
        with psycopg.connect(self.cluster.url(), autocommit=True) as connection:
            connection.execute("checkpoint")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """The server as it is good for filling tables, and then as before, with everything on the disk."""
        self._restart(LOADING)
        try:
            yield
        finally:
            os.sync()
            self._restart(SETTINGS)

    def forget(self) -> None:
        """The server anew: nothing of any database is in its memory, nor in the system's where that can be asked."""
        self.cluster.stop()
        os.sync()
        for path in self.cluster.data_dir.rglob("*"):
            if path.is_file():
                disk.forget(path)
        self.cluster.start()

    def files_of(self, database: Clone) -> list[Path]:
        """Where the pages of its tables and indexes are; empty ones are left out."""
        query = "select oid from pg_database where datname = current_database()"
        row = database.connect(admin=True).execute(query).fetchone()
        assert row is not None
        directory = self.cluster.data_dir / "base" / str(row["oid"])
        return [path for path in directory.iterdir() if path.name[0].isdigit() and path.stat().st_size]

    def _restart(self, settings: Mapping[str, str]) -> None:
        self.cluster.stop()
        self.cluster = replace(self.cluster, settings=settings)
        self.cluster.start()

    def environment(self, database: Clone, **more: str) -> dict[str, str]:
        """What web and worker run with: the timing of this run, the test key of the sandbox."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("POSTBOX_", "STRIPE_"))}
        return {
            **inherited,
            "DATABASE_URL": database.url,
            "POSTBOX_KEY_PEPPER": KEY_PEPPER,
            "POSTBOX_TIME_SCALE": str(self.time_scale),
            "STRIPE_API_KEY": SANDBOX_API_KEY,
            "STRIPE_API_BASE": NO_PROVIDER,
            "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "PYTHONPATH": str(ROOT),
            **more,
        }

    @contextmanager
    def running(
        self, name: str, *argv: str, env: Mapping[str, str], program: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process, of our Python unless told, as long as the block runs; killed with us whatever happens to us."""
        tether = [sys.executable, "-m", "cli.dev.tether", str(os.getpid()), str(program or sys.executable)]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*tether, *argv], cwd=ROOT, env=dict(env), stdout=log, stderr=log)
        self.processes.append(process)
        try:
            yield process
        finally:
            end(process)

    def check(
        self,
        database: Clone,
        *,
        quiesced: bool = True,
        put_off: bool | None = None,
        names: Sequence[str] = tuple(INVARIANTS),
    ) -> int:
        """`check`, and it is told how often and how: what was measured stands on it."""
        found = check(database, quiesced=quiesced, put_off=put_off, names=names)
        self.checks[len(names), quiesced] += 1
        return found

    def checked(self) -> str:
        """What was held over what was left behind, for the result."""
        assert self.checks, "what is measured is checked"
        parts = [
            f"{'once' if times == 1 else f'{times} times'} {invariants} of {len(INVARIANTS)} invariants, "
            + ("with nothing left to do and no dead letter" if quiesced else "while there was work left")
            for (invariants, quiesced), times in sorted(self.checks.items())
        ]
        return f"clean, {'; '.join(parts)}"

    def log(self, name: str, lines: int = 15) -> str:
        """The last lines that a process wrote."""
        return "\n".join((self.directory / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def arena(*, keep: bool = False, time_scale: float = 1.0) -> Iterator[Arena]:
    """A cluster of this process's own, gone afterwards unless it is kept."""
    _remove_left_behind()
    directory = HOME / f"bench-{os.getpid()}"
    cluster = ensure_cluster(directory, settings=SETTINGS)
    try:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            statement = sql.SQL("create role {} login noinherit password {}")
            connection.execute(statement.format(sql.Identifier(LOGIN), sql.Literal(cluster.password(LOGIN))))
        here = Arena(cluster, directory, migrated(cluster), time_scale)
        try:
            yield here
        finally:
            for process in here.processes:
                end(process)
    finally:
        if not keep:
            cluster.remove()
            shutil.rmtree(directory, ignore_errors=True)


def _remove_left_behind() -> None:
    """Remove what a run that was killed, or told to keep it, has left; on a full disk too."""
    for directory in HOME.glob("bench-*"):
        if not is_alive(int(directory.name.removeprefix("bench-"))):
            remove_cluster(directory)
            shutil.rmtree(directory, ignore_errors=True)


def analyze(database: Clone) -> None:
    """What autovacuum does within a minute of the first rows; a session that has planned for no rows plans anew.

    Without it one that began with an empty database, as a web process does, checks foreign keys by the first index that
    begins with the merchant, all rows of it each time; pgbench, whose sessions are made for each repeat, does not.
    """
    database.connect(admin=True).execute("analyze")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, kill."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Any, what: str, *, seconds: float, every: float = 0.05) -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(every)
    return found


def compare_books(database: Clone, *, put_off: bool) -> None:
    """Nobody compares beside what is measured: what the clock owes by now, and what a drain put off, is owed first."""
    if put_off:
        database.connect(admin=True).execute(
            "update reconcile_due set due_at = clock_timestamp() where due_at > clock_timestamp()"
        )
    actor = Actor(ActorType.RECONCILER, "check", Role.WORKER)

    def compare_due(tx: Tx) -> int:
        due = lock_due(tx, limit=COMPARED_AT_ONCE)
        return compare(tx, due, timing=Timing(), detected_by="realtime").payments

    with Database(database.url, size=1, application="books") as pool:
        while pool.transact(actor, compare_due, timeouts=PATIENT):
            pass


def check(
    database: Clone,
    *,
    quiesced: bool = True,
    put_off: bool | None = None,
    names: Sequence[str] = tuple(INVARIANTS),
) -> int:
    """Hold every invariant over what a variant left behind; returns how many rows break one, which must be none.

    `put_off`: whether comparisons that drains put off are made first; unless told, where nothing is to be left at all.
    """
    compare_books(database, put_off=quiesced if put_off is None else put_off)
    # first what time alone breaks: to hold the others over a million payments takes minutes
    names = sorted(names, key=lambda name: name != "discrepancies_are_what_is_found")
    actor = Actor(ActorType.OPERATOR, "check", Role.OPERATOR)
    with (
        Database(database.url, size=CHECKERS, application="check") as pool,
        ThreadPoolExecutor(CHECKERS) as checkers,
    ):

        def share(first: int) -> list[Violation]:
            of = names[first::CHECKERS]
            return pool.transact(actor, lambda tx: violations(tx, quiesced=quiesced, names=of), timeouts=PATIENT)

        found = [one for part in checkers.map(share, range(CHECKERS)) for one in part]
    assert not found, f"{len(found)} violations, the first: {found[0]}"
    return 0
