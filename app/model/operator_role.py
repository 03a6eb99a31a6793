"""What an operator may do: each role's rights, and no more. Each operation of /ops/v1 names one right."""

from __future__ import annotations

from enum import StrEnum


class OperatorRole(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"
    COMPLIANCE = "compliance"


class Right(StrEnum):
    READ = "read"  # payments, dead letters, webhooks, merchants, keys, circuits, figures, proposals
    READ_ACCESS_LOG = "read access log"
    HANDLE = "handle"  # replay and discard, pause and resume
    PROPOSE = "propose"  # what moves money or leaves it: a second person decides
    DECIDE = "decide"  # about what another proposed
    ADMINISTER = "administer"  # merchants and keys


_READER = frozenset({Right.READ})

RIGHTS: dict[OperatorRole, frozenset[Right]] = {
    OperatorRole.VIEWER: _READER,
    OperatorRole.OPERATOR: _READER | {Right.HANDLE, Right.PROPOSE},
    OperatorRole.APPROVER: _READER | {Right.DECIDE},
    OperatorRole.ADMIN: frozenset(Right),
    OperatorRole.COMPLIANCE: _READER | {Right.READ_ACCESS_LOG},
}
