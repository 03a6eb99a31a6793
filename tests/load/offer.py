"""Offers a load to a gateway from several processes at once, and says what came of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from app.config import ROOT
from tests.load.client import PATIENCE_SECONDS, Plan, Result, Source, parts

# Two share the cores with what they measure; one loop sends a few thousand a second.
PROCESSES = 2
# From here to the first request: the processes start and make their requests beforehand.
LEAD_SECONDS = 3.0
REFUSALS = frozenset({429, 503})


@dataclass
class Outcome:
    """Every request that was offered."""

    results: list[Result]
    seconds: float

    def of(self, *, source: str | None = None, kind: str | None = None) -> Outcome:
        kept = [r for r in self.results if source in (None, r.source) and kind in (None, r.kind)]
        return Outcome(kept, self.seconds)

    @property
    def offered(self) -> float:
        return len(self.results) / self.seconds

    @property
    def done(self) -> list[Result]:
        return [result for result in self.results if 200 <= result.status < 300]

    @property
    def goodput(self) -> float:
        """Requests done per second, of those that were answered while the load lasted."""
        return len([r for r in self.done if r.due + r.seconds <= self.seconds]) / self.seconds

    @property
    def statuses(self) -> dict[int, int]:
        return dict(sorted(Counter(result.status for result in self.results).items()))

    @property
    def misbehaved(self) -> list[Result]:
        """What was neither done nor refused as it should be: 429 or 503, with Retry-After."""
        return [
            r
            for r in self.results
            if not (200 <= r.status < 300 or (r.status in REFUSALS and (r.retry_after or "").isdigit()))
        ]

    def milliseconds(self, share: float) -> float:
        """The time that this share of what was done took at most; not a number when nothing was."""
        times = sorted(result.seconds for result in self.done)
        if not times:
            return math.nan
        return round(1_000 * times[min(len(times) - 1, int(share * len(times)))], 1)


def offer(port: int, sources: Iterable[Source], *, seconds: float, seed: int = 1) -> Outcome:
    """Send what the sources' rates say for so long, and wait for the answers."""
    plan = Plan(port, time.time() + LEAD_SECONDS, seconds, seed, list(sources))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.load.client"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process, part in zip(started, parts(plan, PROCESSES), strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(part)))
            process.stdin.close()
        results = []
        for process in started:
            assert process.stdout is not None
            results += [Result(**json.loads(line)) for line in process.stdout]
            assert process.wait(PATIENCE_SECONDS) == 0, "a client process failed"
    finally:
        for process in started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()
    return Outcome(results, seconds)
