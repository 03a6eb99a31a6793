"""The real worker at a hundredth of the waits, but with the time that a call really takes.

A fifth of a second is too short for an answer where one machine runs everything, and each late one would be a fault
that no seed replays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app import config
from app.config import Settings
from jobs import app as jobs_app
from jobs import worker

READ_SECONDS = 1.0
LEASE_SECONDS = 3.0
# Five minutes at a hundredth: of three hundred payments some lose six answers, and two hours would be a minute.
LONGEST_ASK_SECONDS = 3.0


def settings(env: Mapping[str, str] | None = None) -> Settings:
    """What the environment says, with bounds of real work that a busy machine can hold."""
    scaled = config.load_settings(env)
    timing = replace(
        scaled.timing,
        provider_connect=READ_SECONDS,
        provider_read=READ_SECONDS,
        lease=LEASE_SECONDS,
        resolve_schedule=tuple(min(wait, LONGEST_ASK_SECONDS) for wait in scaled.timing.resolve_schedule),
    )
    return replace(scaled, timing=timing)


if __name__ == "__main__":
    jobs_app.load_settings = settings  # type: ignore[attr-defined]
    worker.run(settings())
