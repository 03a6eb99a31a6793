"""A job in the hands of a worker of ours: what it wakes may end it, in the transaction of its own end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Held:
    """`ended`: it is gone with the delivery that it was for, and nobody has to end it again."""

    job_id: int
    worker_id: int
    ended: bool = False
