"""What the server counts: buffers that its clients touch, those that had to be read, and flushes of its log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from cli.dev.postgres import Cluster
from tests.bench.measure import Series

# Autovacuum's buffers are its own. A read may be of several blocks at once.
COUNTED = """
    select
      sum(hits + read_bytes / 8192) filter (where object = 'relation' and backend_type = 'client backend')::float8
        as buffers,
      sum(read_bytes / 8192) filter (where object = 'relation' and backend_type = 'client backend')::float8 as read,
      sum(read_time) filter (where object = 'relation' and backend_type = 'client backend')::float8 as read_ms,
      sum(fsyncs) filter (where object = 'wal')::float8 as flushes,
      sum(fsync_time) filter (where object = 'wal')::float8 as flush_ms
    from pg_stat_io
"""


@dataclass(frozen=True)
class Counted:
    """Of the whole server since it began; what a session touches is told when it ends, or a second late."""

    buffers: float
    read: float
    read_ms: float
    flushes: float
    flush_ms: float


def counted(cluster: Cluster) -> Counted:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        found = connection.cursor(row_factory=class_row(Counted)).execute(COUNTED).fetchone()
    assert found is not None
    return found


@contextmanager
def counting(cluster: Cluster, series: Series, units: int) -> Iterator[None]:
    """Samples of the series: buffers of one unit, how many were read and how long that and a flush of the log took."""
    before = counted(cluster)
    yield
    after = counted(cluster)
    series.note("buffers", (after.buffers - before.buffers) / units)
    series.note("buffers_read", (after.read - before.read) / units)
    series.note("read_ms", (after.read_ms - before.read_ms) / units)
    if flushes := after.flushes - before.flushes:
        series.note("flush_ms", (after.flush_ms - before.flush_ms) / flushes)
