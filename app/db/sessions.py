"""The sessions of our pools: what they are set to, what they prepare, and how they plan."""

from __future__ import annotations

from typing import Any

import psycopg

# A statement is parsed once in a session and not five times first. So many are kept: there are about a hundred names,
# and of each one for every set of types that its parameters have had.
PREPARED_AT_ONCE, PREPARED_MOST = 0, 300
OPTIONS = "-c search_path=postbox,procrastinate -c timezone=UTC -c client_min_messages=warning"
# For sessions that find all rows by their keys: a plan is made once for whatever will be asked, and reads no table
# whole, however small that was at the time. Not for walks by page: one for any number of rows may sort all there are.
BY_KEY = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"


def prepare_many(connection: psycopg.Connection[Any]) -> None:
    """For the pool to configure its connections with."""
    connection.prepared_max = PREPARED_MOST
