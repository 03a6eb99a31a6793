"""What the design promised of every ratio: the least it has to be, what was aimed at, and what a measured value is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One row of the table; `key` is its name under `ratios`."""

    what: str
    key: str
    least: float
    aim: float
    more_is_better: bool = True

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
    return next(one for one in PROMISED if one.key == key)


PROMISED = (
    Promise("deliveries/s against the best peer on the same work", "deliver_vs_best_peer", 2.5, 4),
    Promise("deliveries/s against the set-based SQL limit", "deliver_vs_sql_limit", 0.6, 0.85),
    Promise("deliveries/s against stock Procrastinate", "deliver_vs_stock", 10, 18),
    Promise("accepted payments/s against pgbench of the same SQL", "accept_vs_pgbench", 0.3, 0.5),
    Promise("webhooks/s against pgbench of the same SQL", "webhook_vs_pgbench", 0.4, 0.6),
    Promise("commit of an event to the start of its handler, p95 at 200/s, ms", "start_p95_ms", 50, 15, False),
    Promise("webhook acknowledgement, p99 at 200/s, ms", "ack_p99_ms", 25, 10, False),
    Promise("accept in a large database against a small one", "growth_accept", 0.85, 0.95),
    Promise("deliver in a large database against a small one", "growth_deliver", 0.85, 0.95),
    Promise("trace in a large database against a small one", "growth_trace", 0.85, 0.95),
    Promise("full trace of one payment in a large database, p95, ms", "trace_p95_ms", 50, 10, False),
    Promise("memory of one web process, MB", "web_mb", 120, 90, False),
    Promise("memory of one worker, MB", "worker_mb", 150, 110, False),
)
