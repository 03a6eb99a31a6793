"""Turns samples into the few numbers that are told: percentiles of one repeat, median and spread over repeats."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PERCENTILES = (50, 95, 99)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds, by nearest rank."""
    assert seconds, "nothing was measured"
    ordered = sorted(seconds)
    return {f"p{p}_ms": round(ordered[max(0, -(-p * len(ordered) // 100) - 1)] * 1000, 1) for p in PERCENTILES}


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
        return found | {name: round(statistics.median(values), 3) for name, values in self.samples.items()}


def ratio(of: Series, to: Series) -> float:
    """Median over repeats of the ratio within one repeat: what changed between repeats hits both."""
    return round(statistics.median(a / b for a, b in zip(of.rates, to.rates, strict=True)), 2)
