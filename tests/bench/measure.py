"""Turns samples into the few numbers that are told: percentiles of one repeat, median and spread over repeats."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cli.dev.postgres import Cluster
from tests.bench.cpu import Cpu, used

PERCENTILES = (50, 95, 99)
# What is sent at a rate is at the end at most so many seconds behind it: what cannot follow falls behind without end,
# and a machine that pauses once does not.
BEHIND_SECONDS = 1.0


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds, by nearest rank."""
    assert seconds, "nothing was measured"
    ordered = sorted(seconds)
    return {f"p{p}_ms": round(ordered[max(0, -(-p * len(ordered) // 100) - 1)] * 1000, 1) for p in PERCENTILES}


def held(rate: float, sent_at: Sequence[float]) -> float:
    """The rate at which things were really sent, which has to be what it was to be."""
    span = max(sent_at) - min(sent_at)
    behind = span - (len(sent_at) - 1) / rate
    assert behind <= BEHIND_SECONDS, f"at {rate:g}/s the last of {len(sent_at)} was {behind:.1f} s behind"
    return (len(sent_at) - 1) / span if span else rate


@dataclass
class Series:
    """One compared variant over all repeats: `rates` per second, `latencies` in seconds, other `samples` by name."""

    name: str
    unit: str
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """One more sample of something else, one per repeat."""
        self.samples.setdefault(name, []).append(value)

    def add(self, rate: float, latencies: Sequence[float] = ()) -> None:
        """The outcome of one repeat."""
        self.rates.append(rate)
        self.latencies += latencies

    def extend(self, turns: Series) -> None:
        """One repeat in many turns: the rate of each; of other samples the mean, for ticks are longer than a turn."""
        self.rates += turns.rates
        self.latencies += turns.latencies
        for name, values in turns.samples.items():
            self.note(name, statistics.fmean(values))

    def paced(self, rate: float, sent_at: Sequence[float], waited: Sequence[float]) -> None:
        """One repeat at a rate: the one that was held, and the seconds that each waited since its time had come."""
        self.add(held(rate, sent_at), waited)

    def count(self, *, payments: float, deliveries: float) -> None:
        """How many payments and deliveries one unit of the rate is."""
        self.samples["payments_per_second"] = [rate * payments for rate in self.rates]
        self.samples["deliveries_per_second"] = [rate * deliveries for rate in self.rates]

    def spent(self, cost: Cpu, units: int) -> None:
        """What one repeat cost: CPU by payment or delivery, of processes, what drives them and the server; memory.

        And how long the threads of processes and server waited for a core, together.
        """
        self.note("worker_cpu_ms", 1000 * cost.processes / units)
        self.note("server_cpu_ms", 1000 * cost.server / units)
        for name, seconds in {**cost.each, **cost.driving}.items():
            self.note(f"cpu_ms of {name}", 1000 * seconds / units)
        for name, megabytes in cost.peak_mb.items():
            self.note(f"peak_mb of {name}", megabytes)
        if cost.peak_mb:
            self.note("peak_mb", max(cost.peak_mb.values()))
        self.note("waiting_ms", 1000 * sum(cost.waiting.values()) / units)
        self.note("server_waiting_ms", 1000 * sum(cost.server_waiting.values()) / units)

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    def summary(self) -> dict[str, Any]:
        """All of it, rounded, with the raw rate of each repeat."""
        found: dict[str, Any] = {"name": self.name, "unit": self.unit}
        if self.rates:
            found |= {
                "median": round(self.median, 1),
                "lowest": round(min(self.rates), 1),
                "highest": round(max(self.rates), 1),
                "repeats": [round(rate, 1) for rate in self.rates],
            }
        if self.latencies:
            found |= percentiles(self.latencies)
        found["samples"] = {name: [round(value, 4) for value in values] for name, values in self.samples.items()}
        found["latencies_ms"] = [round(1000 * value, 2) for value in self.latencies]
        return found | {name: round(statistics.median(values), 3) for name, values in self.samples.items()}


@contextmanager
def spending(cluster: Cluster, processes: Mapping[str, int], units: int, *series: Series) -> Iterator[None]:
    """What the block costs, for each of these series."""
    before = used(cluster, processes)
    yield
    cost = used(cluster, processes).since(before)
    for one in series:
        one.spent(cost, units)


def ratio(of: Series, to: Series) -> float:
    """Median over repeats of the ratio within one repeat: what changed between repeats hits both."""
    return round(statistics.median(a / b for a, b in zip(of.rates, to.rates, strict=True)), 2)
