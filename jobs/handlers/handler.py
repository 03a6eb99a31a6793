"""What a handler is, in either lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.config import Timing
from app.db import Tx
from app.model.actor import ActorType
from jobs.run import Run


@dataclass(frozen=True)
class RemoteHandler:
    """Calls something outside: gets a Run, opens its own transactions, ends the delivery in the last."""

    name: str
    handle: Callable[[Run], None]
    actor_type: ActorType = ActorType.WORKER
    lane: str = "remote"


@dataclass(frozen=True)
class LocalHandler:
    """Touches only the database: gets the group's open transaction and its delivery, which is marked for it.

    `in_database`: all it does is the SQL function of its name, which run_local_batch calls for many deliveries at once.
    """

    name: str
    handle: Callable[[Tx, dict[str, Any], Timing], None]
    actor_type: ActorType = ActorType.WORKER
    in_database: bool = False
    lane: str = "local"


Handler = RemoteHandler | LocalHandler
