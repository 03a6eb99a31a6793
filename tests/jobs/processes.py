"""Real worker processes on a database and a sandbox of their own, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.config import ROOT, SANDBOX_API_KEY
from app.db import Database
from app.model.actor import Actor, ActorType, Role
from app.services.checks import Violation, violations
from cli.dev.postgres import Cluster
from tests.fixtures.cluster import UNSAFE
from tests.fixtures.database import KEY_PEPPER, TIME_SCALE, WEBHOOK_SECRET, Clone, clone
from tests.fixtures.sandbox import Sandbox, running_sandbox

# SIGTERM to exit; the product promises 25 s.
DRAIN_SECONDS = 25
# Between two looks at a condition.
LOOK_EVERY = 0.02

UNFINISHED = """
    select p.id, p.description, p.method_token, p.state, p.observe_at - clock_timestamp() as look_in,
      (select array_agg(concat_ws(' ', o.kind, o.step, o.status, o.asks, o.outcome_code) order by o.created_at)
       from operations o where o.payment_id = p.id) as operations,
      (select array_agg(concat_ws(' ', d.handler, d.status, d.due_at - clock_timestamp(), d.deferred_for, d.failures))
       from deliveries d where d.payment_id = p.id and d.status <> 'done') as deliveries,
      (select array_agg(concat_ws(' ', c.step, c.outcome, c.error_detail) order by c.sent_at)
       from provider_calls c where c.payment_id = p.id) as calls
    from payments p
    where p.state not in ('settled', 'failed', 'canceled')
       or exists (select from deliveries d where d.payment_id = p.id and d.status <> 'done')
    order by p.created_at limit 20
"""
DELIVERIES_OF_NO_PAYMENT = """
    select handler, status, due_at - clock_timestamp() as due_in, deferred_for, runs, deferrals, failures, rescues
    from deliveries where status <> 'done' and payment_id is null limit 20
"""

STOCK = ("-m", "procrastinate", "--app=jobs.app.app", "worker")


def until(condition: Callable[[], Any], what: str | Callable[[], object], *, seconds: float = 30) -> Any:
    """What `condition` returns once it is true; AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what() if callable(what) else what}"
        time.sleep(LOOK_EVERY)


@dataclass
class World:
    """A database, a sandbox, and the processes between them."""

    database: Clone
    sandbox: Sandbox
    log: Path
    time_scale: float = TIME_SCALE
    env: dict[str, str] = field(default_factory=dict)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = self.database.connect(admin=True)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            **UNSAFE,
            "DATABASE_URL": self.database.url,
            "POSTBOX_TIME_SCALE": str(self.time_scale),
            "POSTBOX_KEY_PEPPER": KEY_PEPPER,
            "STRIPE_API_KEY": SANDBOX_API_KEY,
            "STRIPE_API_BASE": self.sandbox.url,
            "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "PYTHONPATH": str(ROOT),
            **self.env,
            **more,
        }

    def start(self, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments, tied to this test process; by default an ordinary worker."""
        tether = [sys.executable, "-m", "cli.dev.tether", str(os.getpid()), sys.executable]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*tether, *(argv or ("-c", "from cli.main import main; main()", "worker"))],
                cwd=ROOT,
                env=self.environment(**env),
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def worker(self, **env: str) -> subprocess.Popen[bytes]:
        return self.start(**env)

    def dying_worker(self, at: str, **env: str) -> subprocess.Popen[bytes]:
        """A worker that kills itself with SIGKILL at a named point."""
        return self.start("-m", "tests.jobs.dying_worker", DIE_AT=at, **env)

    def kill_all(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()

    def one(self, query: str, *params: Any) -> dict[str, Any]:
        row = self.connection.execute(query, params or None).fetchone()
        assert row is not None
        return row

    def all(self, query: str, *params: Any) -> list[dict[str, Any]]:
        return self.connection.execute(query, params or None).fetchall()

    def state(self, payment: dict[str, Any]) -> str:
        return str(self.one("select state from payments where id = %s", payment["id"])["state"])

    def states(self) -> dict[str, int]:
        return {r["state"]: r["n"] for r in self.all("select state, count(*) as n from payments group by 1 order by 1")}

    def without_runs_of_the_clock(self) -> None:
        """Nothing is asked of the provider by the hour and the day: only what payments lead to is done."""
        self.connection.execute("delete from subscriptions where handler in ('list_changes', 'prove_balance')")

    def without_further_runs_of_the_clock(self) -> None:
        """Those that were asked for come to their end; who asks for more needs the lock that is held here."""
        self.connection.execute("select pg_advisory_lock(hashtextextended('postbox sweep runs', 0))")

    def pending(self) -> list[dict[str, Any]]:
        return self.all(
            "select handler, due_at, job_id, runs, failures, deferrals, rescues, deferred_for from deliveries"
            " where status = 'pending' limit 20"
        )

    def unfinished(self) -> str:
        """For a test that waited in vain: each payment under way and what is open of it, other deliveries, circuits."""
        rows = [*self.all(UNFINISHED), *self.all(DELIVERIES_OF_NO_PAYMENT), *self.all("select * from circuits")]
        return "\n".join(["", *map(str, rows), self.tail()])

    def violations(self, *, quiesced: bool = True) -> list[Violation]:
        return violations_of(self.database.url, quiesced=quiesced)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def violations_of(url: str, *, quiesced: bool = True) -> list[Violation]:
    """What `postbox check` finds in this database."""
    with Database(url, size=1, application="check") as database:
        actor = Actor(ActorType.OPERATOR, "check", Role.OPERATOR)
        return database.transact(actor, lambda tx: violations(tx, quiesced=quiesced))


@contextmanager
def world(
    cluster: Cluster, template: str, directory: Path, *sandbox_options: str, time_scale: float = TIME_SCALE
) -> Iterator[World]:
    """A world of its own; whatever still runs in it is killed at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    options = ("--time-scale", str(time_scale), *sandbox_options)
    database = contextmanager(clone)(cluster, template)
    with database as made, running_sandbox(directory / "stripe.jsonl", *options) as sandbox:
        here = World(made, sandbox, directory / "processes.log", time_scale)
        try:
            yield here
        finally:
            here.kill_all()
