"""Who acts: the actor every transaction carries, and the database role it may carry it under."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActorType(StrEnum):
    API = "api"
    WORKER = "worker"
    WEBHOOK = "webhook"
    RECONCILER = "reconciler"
    OPERATOR = "operator"
    SYSTEM = "system"


class Role(StrEnum):
    """Database roles a login may SET ROLE to; which actor types each may set is the table `role_actors`."""

    API = "postbox_api"
    WORKER = "postbox_worker"
    OPERATOR = "postbox_operator"
    COMPLIANCE = "postbox_compliance"
    OWNER = "postbox_owner"


@dataclass(frozen=True)
class Actor:
    """`id` is the key id, handler, sweep or operator name; `on_behalf_of` names the operator behind a reconciler.

    `correlation_id` is the thread of what is about no payment; a payment's is itself. `causation_id` is what caused it:
    the trace of a request, or an event.
    """

    type: ActorType
    id: str
    role: Role
    on_behalf_of: str | None = None
    reason: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
