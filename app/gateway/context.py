"""What one process of the gateway holds: settings, the pool, the waker, the inboxes of the providers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from flask import current_app, g, request

from app.config import Settings
from app.db import Database
from app.db.wake import Waker
from app.gateway.door import Door
from app.gateway.inbox import Inbox
from app.gateway.queue_state import QueueState
from app.model.actor import Actor, ActorType, Role

EXTENSION = "postbox"

# An address as proxies write it: some with a port, IPv6 then in brackets; a zone means something to their host alone.
_ADDRESS = re.compile(r"([0-9.]+)(?::[0-9]+)?|\[([^]%]+)(?:%[^]]+)?\](?::[0-9]+)?|([^]%]*:[^]%]*)(?:%[^]]+)?")


@dataclass(frozen=True)
class Gateway:
    """Made once per process; the pool opens with the first request, so after the fork."""

    settings: Settings
    database: Database
    waker: Waker
    door: Door
    queue: QueueState = field(default_factory=QueueState)
    inboxes: Mapping[tuple[str, str], Inbox] = field(default_factory=dict)


def gateway() -> Gateway:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Gateway)
    return found


def actor(identity: str) -> Actor:
    """The actor behind this request: an API key, or the door it came through."""
    return Actor(ActorType.API, identity, Role.API, **_of_request())


def client_address() -> str | None:
    """Where the request came from; behind a proxy only what the proxy setting makes of its headers.

    None where that is no address: a proxy may write `unknown`, and who is bound to networks is then in none of them.
    """
    return _address(request.remote_addr or "")


# Two reads of a request, and most come from few.
@lru_cache(maxsize=1024)
def _address(text: str) -> str | None:
    written = _ADDRESS.fullmatch(text)
    if written is None:
        return None
    try:
        address = ipaddress.ip_address(written[written.lastindex or 0])
    except ValueError:
        return None
    # A socket for both families shows IPv4 as a part of IPv6, and networks are of one family.
    return str(getattr(address, "ipv4_mapped", None) or address)


def sign_in_door() -> Actor:
    """Who counts an attempt to sign in: nobody yet."""
    return actor("door:/ops/v1/session")


def operator(name: str, *, reason: str | None = None) -> Actor:
    """A person at work under this name."""
    return Actor(ActorType.OPERATOR, name, Role.OPERATOR, reason=reason, **_of_request())


def _of_request() -> dict[str, str]:
    """The trace is what all that a request writes is caused by; what is about no payment has it for its thread too."""
    return {"request_id": g.request_id, "correlation_id": g.trace.id, "causation_id": g.trace.id}
