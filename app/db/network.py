"""For how long a database host that is gone is waited for: what libpq is told for every connection that we make."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from psycopg.conninfo import make_conninfo

# A host that vanishes answers nothing, and statement_timeout is its own: a statement that it has acknowledged would be
# waited for until the kernel's keepalive, two hours. So it is asked after this much silence, and again, and is gone
# after the last of these: 5 + 3 x 2 = 11 s, less than a request waits for those before it (15 s). A busy host answers:
# its kernel does, however long a statement takes.
KEEPALIVES_IDLE_SECONDS = 5
KEEPALIVES_INTERVAL_SECONDS = 2
KEEPALIVES_COUNT = 3
# A network that swallows what is sent would hold its thread for minutes. Of TCP on Linux; elsewhere libpq ignores it.
TCP_USER_TIMEOUT_MS = 10_000
# For each host of the URL: one that is gone must not keep the next from being asked.
CONNECT_SECONDS = 5

BOUNDS: Mapping[str, int] = MappingProxyType(
    {
        "keepalives_idle": KEEPALIVES_IDLE_SECONDS,
        "keepalives_interval": KEEPALIVES_INTERVAL_SECONDS,
        "keepalives_count": KEEPALIVES_COUNT,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "connect_timeout": CONNECT_SECONDS,
    }
)


def bounded(url: str, **more: str) -> str:
    """The connection string of a URL with these bounds, and with `more` parameters of libpq."""
    return make_conninfo(url, **BOUNDS, **more)
