"""What an API key may do: the scopes there are. Each route of the API names one; a key carries a set of them."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """`<resource>:read` or `<resource>:write`; writing does not include reading."""

    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    REFUNDS_READ = "refunds:read"
    REFUNDS_WRITE = "refunds:write"
    DISPUTES_READ = "disputes:read"
    BALANCE_READ = "balance:read"
    EVENTS_READ = "events:read"


ALL_SCOPES = tuple(scope.value for scope in Scope)
