"""What accepting, delivering and tracing cost beside a snapshot that stays open: all that died since is still there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from tests.bench.arena import Arena
from tests.bench.measure import Series, ratio
from tests.bench.turns import ACCEPTED, DELIVERED, WHAT, one_turn, series_of, told, turn_of
from tests.fixtures.database import Clone

# While it only ages there is a turn so often: fifty payments a second, for as long as it takes.
TURN_EVERY = 120.0


@dataclass
class Beside:
    """A database in which somebody's snapshot is open since the object was made."""

    arena: Arena
    original: Clone
    size: int
    database: Clone
    began: float = field(default_factory=time.monotonic)
    turns: int = 0
    series: dict[str, Series] = field(default_factory=dict)
    note: str = ""

    @property
    def age(self) -> float:
        return time.monotonic() - self.began

    def pass_a_turn(self, series: dict[str, Series] | None = None) -> None:
        """Accept and deliver: by default only to leave something behind that the snapshot keeps."""
        one_turn(self.arena, self.database, series or series_of("aging"))
        self.database.close()
        self.turns += 1

    def measure(self, repeats: int, age: float, progress: Callable[[str], None]) -> dict[str, float]:
        """Once it is old enough: turns beside it and without it, one after the other; their ratios."""
        while self.age < age:
            began = time.monotonic()
            self.pass_a_turn()
            time.sleep(max(0.0, min(TURN_EVERY - (time.monotonic() - began), age - self.age)))
        self.series = series_of(f"{self.size:,} payments, beside a snapshot {self.age:.0f} s old")
        without = series_of("without")
        for repeat in range(1, repeats + 1):
            with turn_of(self.arena, self.original, self.size) as database:
                one_turn(self.arena, database, without)
            self.pass_a_turn(self.series)
            accepted, delivered = self.turns * ACCEPTED, self.turns * DELIVERED
            self.note = f"open for {self.age:.0f} s, in which {accepted:,} were accepted and {delivered:,} delivered"
            progress(f"repeat {repeat} of {repeats}: {self.note}, {told(self.series)}; without: {told(without)}")
        return {f"snapshot_{what}": ratio(self.series[what], without[what]) for what in WHAT}


@contextmanager
def snapshot(arena: Arena, original: Clone, size: int) -> Iterator[Beside]:
    """A clone whose first snapshot stays open until the end; what is left then is checked."""
    with arena.database(original.name) as database:
        with psycopg.connect(database.admin_url) as holder:
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from postbox.merchants")
            yield Beside(arena, original, size, database)
        arena.check(database, quiesced=False)
