"""Multiplies the payments of a database: rows that the product made, under new names, into tables without indexes.

A copy differs from its original in its identifiers and in nothing else. Identifiers of ours begin with the time they
were made, to a quarter of an hour in seven digits: each copy says another quarter. Names that others gave get a suffix.
An audit entry's hash is taken over the text that the database itself hashes. Indexes, foreign keys and triggers come
after the rows, so that PostgreSQL checks every key of every copy; `postbox check` holds the rest.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import psycopg
from psycopg import sql

from tests.bench.arena import Arena
from tests.fixtures.database import Clone, Connection

# Seven of the twelve hexadecimal digits of a version 7 uuid's milliseconds: 2^20 of them, 17.5 minutes.
WINDOW = 7
# Stand for what a copy replaces, in bytes that no text of ours holds: a suffix, the number of a job, a window's digits.
SUFFIX, JOB, FIRST_WINDOW = b"\x01", b"\x02", 0x10
# The originals are minutes old.
MOST_WINDOWS = 8
# What others named: providers, the client of the benchmark, the network.
NAMED = re.compile(rb"\b(?:(?:pi|ch|txn|evt|req|re|dp|po)_[0-9A-Za-z]+|(?:order|bench) \d+)")
UUID7 = re.compile(
    rb"(?<![0-9a-f])([0-9a-f]{7})[0-9a-f]-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}(?![0-9a-f])"
)

AUDIT, JOBS, DELIVERIES = "audit_log", "procrastinate_jobs", "deliveries"
# Everything that is about a payment. What is about a merchant stays as it is.
TABLES = (
    "payments", "operations", "operation_attempts", "provider_calls", "provider_transactions", "webhooks", "events",
    DELIVERIES, "delivery_failures", "idempotency_keys", "refunds", "disputes", "ledger_entries", "ledger_lines",
    "reconcile_due", AUDIT, JOBS,
)  # fmt: skip
OF_MERCHANTS = "payment_id is null and entity_type not in ('webhook')"
# The rows of two connections at once are about the same: half of all there is is audit.
SHARES = ((AUDIT,), tuple(table for table in TABLES if table != AUDIT))
BALANCES = """
    update ledger_balances b set amount = s.amount
    from (select account_merchant_id, account_id, currency, sum(amount) as amount from ledger_lines group by 1, 2, 3) s
    where s.account_merchant_id = b.merchant_id and s.account_id = b.account_id and s.currency = b.currency
"""
FIXED = "select id::text from merchants union all select id::text from ledger_accounts"
COLUMNS = (
    "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
    " and attgenerated = '' and not (%s and attname = 'row_sha256') order by attnum"
)
HASHED = re.compile(r"RETURN sha256\(convert_to\((?P<text>.*), 'UTF8'::name\)\)", re.DOTALL)


@dataclass(frozen=True)
class Original:
    """The rows of one table as COPY tells them, marked; `hashed` is what the hash of each is taken over."""

    columns: tuple[str, ...]
    rows: bytes
    hashed: bytes = b""
    jobs: int = 0


@contextmanager
def multiplied(
    arena: Arena, originals: Clone, name: str, times: int, progress: Callable[[str], None]
) -> Iterator[Clone]:
    """A database with every payment of `originals` so many times, dropped at the end."""
    dump = arena.directory / f"{name}.dump"
    _run(arena, "pg_dump", "-Fc", f"--file={dump}", originals.admin_url)
    with psycopg.connect(arena.cluster.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    made = Clone(arena.cluster, name)
    try:
        with arena.loading():
            for section in ("pre-data", "data"):
                _run(arena, "pg_restore", f"--section={section}", f"--dbname={made.admin_url}", str(dump))
            progress(f"{name}: copying rows")
            _copy_all(made, times)
            progress(f"{name}: indexes, keys and triggers")
            _run(arena, "pg_restore", "--section=post-data", "--jobs=2", f"--dbname={made.admin_url}", str(dump))
            conn = made.connect(admin=True)
            conn.execute(BALANCES)
            progress(f"{name}: statistics")
            conn.execute("vacuum (freeze, analyze)")
            made.close()
        yield made
    finally:
        made.close()
        dump.unlink(missing_ok=True)
        with psycopg.connect(arena.cluster.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _run(arena: Arena, program: str, *argv: str) -> None:
    ran = subprocess.run([str(arena.cluster.bin_dir / program), *argv], capture_output=True, text=True)
    assert ran.returncode == 0, f"{program}: {ran.stderr[-2000:]}"


def _copy_all(made: Clone, times: int) -> None:
    """Every table by one of two connections."""
    conn = made.connect(admin=True)
    names = Names.of(conn)
    originals = {table: _read(conn, table, names) for table in TABLES}
    errors: list[Exception] = []

    def copy(tables: tuple[str, ...]) -> None:
        try:
            own = made.connect(admin=True)
            for table in tables:
                _write(own, table, originals[table], names, times)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=copy, args=(share,)) for share in SHARES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    conn.execute("select setval(pg_get_serial_sequence('procrastinate_jobs', 'id'), max(id)) from procrastinate_jobs")


@dataclass(frozen=True)
class Names:
    """The windows of time in which the originals were named, and the names that are nobody's but one."""

    windows: tuple[int, int]
    fixed: frozenset[bytes]

    @classmethod
    def of(cls, conn: Connection) -> Names:
        fixed = frozenset(row["id"].replace("-", "").encode() for row in conn.execute(FIXED))
        found = [int(m[1], 16) for m in UUID7.finditer(_told(conn, "payments", ("id",))) if _plain(m) not in fixed]
        found += [int(m[1], 16) for m in UUID7.finditer(_told(conn, AUDIT, ("id",)))]
        low, high = min(found), max(found)
        assert high - low < MOST_WINDOWS, "the originals were made within minutes"
        return cls((low, high), fixed)

    def mark(self, text: bytes) -> bytes:
        """Put marks in the place of what a copy changes."""

        def own(match: re.Match[bytes]) -> bytes:
            window = int(match[1], 16)
            if _plain(match) in self.fixed or not self.windows[0] <= window <= self.windows[1]:
                return match[0]
            return bytes([FIRST_WINDOW + window - self.windows[0]]) + match[0][WINDOW:]

        return UUID7.sub(own, NAMED.sub(lambda match: match[0] + SUFFIX, text))

    def copy(self, text: bytes, n: int) -> bytes:
        """The marked text of the `n`th copy; the first is the original."""
        low, high = self.windows
        for window in range(low, high + 1):
            digits = b"%07x" % (window - n * (high - low + 1))
            text = text.replace(bytes([FIRST_WINDOW + window - low]), digits)
        return text.replace(SUFFIX, b"n%d" % n if n else b"")


def _plain(match: re.Match[bytes]) -> bytes:
    return match[0].replace(b"-", b"")


def _read(conn: Connection, table: str, names: Names) -> Original:
    """The originals of a table; a pending delivery and its job stand at the same place of their tables."""
    columns = tuple(row["attname"] for row in conn.execute(COLUMNS, [table, table == AUDIT]))
    if table not in (AUDIT, JOBS, DELIVERIES):
        return Original(columns, names.mark(_told(conn, table, columns)))
    if table == AUDIT:
        source = conn.execute("select pg_get_function_sqlbody('audit_row_sha256'::regproc) as body").fetchone()
        hashed = source and HASHED.fullmatch(source["body"])
        assert hashed, "the hash of an audit entry is the SHA-256 of one text"
        texts = _told(conn, table, (f"({hashed['text']})",), f"where not ({OF_MERCHANTS}) order by merchant_id, id")
        rows = _told(conn, table, columns, f"where not ({OF_MERCHANTS}) order by merchant_id, id")
        return Original((*columns, "row_sha256"), names.mark(rows), names.mark(_unescaped(texts)))
    numbered = "job_id" if table == DELIVERIES else "id"
    selected = tuple(f"case when {name} is not null then chr(2) end" if name == numbered else name for name in columns)
    rows = _told(conn, table, selected, f"order by {numbered}")
    return Original(columns, names.mark(rows), jobs=rows.count(JOB))


def _told(conn: Connection, table: str, columns: tuple[str, ...], rest: str = "") -> bytes:
    query = f"copy (select {', '.join(columns)} from {table} entry {rest}) to stdout"
    with conn.cursor().copy(query.encode()) as copy:
        return b"".join(bytes(part) for part in copy)


def _unescaped(text: bytes) -> bytes:
    """COPY doubles backslashes, and jsonb has no other character that it would escape."""
    return text.replace(b"\\\\", b"\\")


def _write(conn: Connection, table: str, original: Original, names: Names, times: int) -> None:
    """Empty the table and fill it in one transaction: rows that nobody else ever saw are frozen as they come."""
    with conn.transaction():
        if table == AUDIT:
            conn.execute(
                f"create temp table kept on commit drop as select * from {AUDIT} where {OF_MERCHANTS}".encode()
            )
        conn.execute(f"truncate {table}".encode())
        statement = f"copy {table} ({', '.join(original.columns)}) from stdin (freeze)"
        with conn.cursor().copy(statement.encode()) as copy:
            for piece in _copies(original, names, times):
                copy.write(piece)
        if table == AUDIT:
            conn.execute(f"insert into {AUDIT} select * from kept".encode())


def _copies(original: Original, names: Names, times: int) -> Iterator[bytes]:
    for n in range(times):
        rows = names.copy(original.rows, n)
        if original.hashed:
            texts = names.copy(original.hashed, n).splitlines()
            lines = zip(rows.splitlines(), texts, strict=True)
            rows = b"".join(b"%s\t\\\\x%s\n" % (line, sha256(text).hexdigest().encode()) for line, text in lines)
        if original.jobs:
            first, *rest = rows.split(JOB)
            numbers = range(1 + n * original.jobs, 1 + (n + 1) * original.jobs)
            rows = first + b"".join(b"%d%s" % pair for pair in zip(numbers, rest, strict=True))
        yield rows
