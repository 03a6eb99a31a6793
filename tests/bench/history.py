"""Databases with as many settled payments as they are told, each with everything that a payment leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.arena import Arena
from tests.bench.copies import multiplied
from tests.bench.lives import live
from tests.fixtures.database import Clone

# The originals: of so many merchants so many payments, and never more than every fifth of what is asked for.
MERCHANTS, EACH, SHARE = 20, 5, 5
# What a payment and its evidence take of the disk, and what a turn leaves behind.
BYTES_OF_ONE = 45_000


@contextmanager
def lived(arena: Arena, payments: int) -> Iterator[Clone]:
    """The originals of that many or more."""
    merchants = max(1, min(MERCHANTS, payments // SHARE))
    with arena.database() as originals:
        live(arena, originals, merchants=merchants, each=max(1, min(EACH, payments // SHARE // merchants)))
        originals.close()
        yield originals


@contextmanager
def grown(arena: Arena, originals: Clone, payments: int, progress: Callable[[str], None]) -> Iterator[Clone]:
    """`payments` of them, to the next whole number of copies."""
    arena.cluster.home.require_free_space(payments * BYTES_OF_ONE)
    began = time.monotonic()
    times = -(-payments // _count(originals))
    with multiplied(arena, originals, f"grown_{payments}", times, progress) as database:
        progress(f"{payments:,} payments made in {time.monotonic() - began:.0f} s")
        yield database


def _count(database: Clone) -> int:
    row = database.connect(admin=True).execute("select count(*) as n from payments").fetchone()
    database.close()
    assert row is not None
    return int(row["n"])
