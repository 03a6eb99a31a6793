"""What the design promised of every ratio: the least it has to be, what was aimed at, who measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Promise:
    """One row of the table; `key` is its name under `ratios`, which the benchmarks `by` measure and no other.

    A run among fewer than `payments` shows nothing of it.
    """

    what: str
    key: str
    least: float
    aim: float
    by: tuple[str, ...]
    more_is_better: bool = True
    payments: int = 0

    def reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more_is_better else value <= bound

    def verdict(self, value: float | None) -> str:
        """`reached` the aim, `met` the least, `missed` it, or was not measured."""
        if value is None:
            return "not measured"
        if self.reaches(value, self.aim):
            return "reached"
        return "met" if self.reaches(value, self.least) else "missed"


def promise(key: str) -> Promise:
    """The row of this ratio."""
    return BY_KEY[key]


def counts(key: str, value: float, against: float) -> bool:
    """Whether of two that measured the same this one is told: the worse, and the newer where nothing was promised."""
    return key not in BY_KEY or not BY_KEY[key].reaches(value, against)


def assert_told(name: str, result: dict[str, Any]) -> None:
    """A benchmark tells every ratio that is its own, and of each what the limit is, whatever the figures are."""
    own = {one.key for one in PROMISED if name in one.by}
    for what in ("ratios", "limits"):
        missing = own - set(result.get(what, {}))
        assert not missing, f"{name} tells no {what} of {', '.join(sorted(missing))}"


MILLION = 1_000_000

PROMISED = (
    Promise("deliveries/s against the best peer on the same work", "deliver_vs_best_peer", 2.5, 4, ("peers",)),
    Promise("deliveries/s against the set-based SQL limit", "deliver_vs_sql_limit", 0.6, 0.85, ("peers",)),
    Promise("deliveries/s against stock Procrastinate", "deliver_vs_stock", 10, 18, ("peers",)),
    Promise("accepted payments/s against pgbench of the same SQL", "accept_vs_pgbench", 0.3, 0.5, ("accept",)),
    Promise("webhooks/s against pgbench of the same SQL", "webhook_vs_pgbench", 0.4, 0.6, ("webhook",)),
    Promise(
        "commit of an event to the start of its handler, p95 at 200/s, ms", "start_p95_ms", 50, 15, ("deliver",), False
    ),
    Promise("webhook acknowledgement, p99 at 200/s, ms", "ack_p99_ms", 25, 10, ("webhook",), False),
    Promise(
        "accept in a large database against a small one", "growth_accept", 0.85, 0.95, ("growth",), payments=MILLION
    ),
    Promise(
        "deliver in a large database against a small one", "growth_deliver", 0.85, 0.95, ("growth",), payments=MILLION
    ),
    # as it comes the small one is in memory, and the large one is not: that would compare a memory with a disk
    Promise(
        "trace in a large database against a small one, both from the disk",
        "growth_trace",
        0.85,
        0.95,
        ("growth",),
        payments=MILLION,
    ),
    Promise(
        "full trace of one payment in a large database, p95, ms", "trace_p95_ms", 50, 10, ("growth",), False, MILLION
    ),
    Promise(
        "a merchant's next local delivery beside another's 100,000 pending, the longest, ms",
        "fairness_longest_ms",
        2000,
        2000,
        ("fairness",),
        False,
        100_000,
    ),
    Promise(
        "the API's p99 beside a drain of 100,000 against its p99 without",
        "api_p99_beside_a_drain",
        1.5,
        1,
        ("fairness",),
        False,
        100_000,
    ),
    Promise("memory of one web process, MB", "web_mb", 120, 90, ("accept", "webhook"), False),
    Promise("memory of one worker, MB", "worker_mb", 150, 110, ("deliver", "e2e"), False),
)
BY_KEY = {one.key: one for one in PROMISED}
