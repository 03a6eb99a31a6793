"""A release goes over the one before it while that still runs: after each of its files whoever could serve still can.

Each file is a transaction of its own, and a migrator may be cut off behind any of them: what a function that runs needs
from then on is granted where it is made, and not by grants.sql alone, which comes last.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from app.config import SQL_DIR
from app.db import scripts
from app.db.migrate import migrate
from app.model.api_key import ApiKey
from tests import factories
from tests.factories import PEPPER, Connection, Row
from tests.fixtures.cluster import LOGIN
from tests.fixtures.database import Clone
from tests.sql.releases import empty, release

__all__ = ["empty", "release"]

# The release before: its last migration, and its other files as `git archive --format=tar 42a5b00` gave them.
LAST = "0045"
BEFORE = Path(__file__).parent / f"release_{LAST}.tar.xz"
ROLES = ["postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance"]

# What each role needs: the functions that it calls, and what those and triggers name that run with its own rights.
NEEDS = """
with functions as materialized (
  select p.oid, p.proname as name, not p.prosecdef as is_callers, p.prorettype = 'trigger'::regtype as is_trigger,
         coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) as body
  from pg_proc p where p.pronamespace = 'postbox'::regnamespace
),
things as materialized (
  select f.name, f.oid, 'function' as kind from functions f
  union all
  select c.relname, c.oid, case c.relkind when 'S' then 'sequence' else 'table' end from pg_class c
  where c.relnamespace = 'postbox'::regnamespace and c.relkind in ('r', 'S')
),
named as materialized (
  select distinct f.oid as caller_oid, f.name as caller, f.is_trigger, t.oid, t.name, t.kind
  from functions f cross join lateral regexp_matches(f.body, '\\w+', 'g') word join things t on t.name = word[1]
  where f.is_callers
)
select r.role, f.name as way, has_function_privilege(r.role, f.oid, 'EXECUTE') as may
from unnest(%(roles)s::text[]) r (role) cross join functions f
union all
select r.role, concat_ws(' ', n.caller, n.name, p.privilege), case n.kind
  when 'function' then has_function_privilege(r.role, n.oid, p.privilege)
  when 'sequence' then has_sequence_privilege(r.role, n.oid, p.privilege)
  else has_any_column_privilege(r.role, n.oid, p.privilege) end
from unnest(%(roles)s::text[]) r (role) cross join named n
join (values ('function', 'EXECUTE'), ('sequence', 'USAGE'),
  ('table', 'SELECT'), ('table', 'INSERT'), ('table', 'UPDATE')) p (kind, privilege) on p.kind = n.kind
where n.is_trigger or has_function_privilege(r.role, n.caller_oid, 'EXECUTE')
"""

# What the release before asks.
TAKE = "select * from take_token(%s, %s, 'write', 1000, 1000, 1000, 1000, null)"
STORE = """
select s.owner, s.stored from jsonb_array_elements(%s::jsonb) with ordinality e (event, place)
cross join lateral store_webhook('stripe', 'default', e.event) s order by e.place
"""

Way = tuple[str, str]


def lay_out_before(release: Path) -> None:
    """Make this copy of sql/ that of the release before."""
    for path in (release / "migrations").glob("*.sql"):
        if path.name[:4] > LAST:
            path.unlink()
    for folder in ("functions", "reports"):
        shutil.rmtree(release / folder)
    with tarfile.open(BEFORE) as archive:
        archive.extractall(release.parent, filter="data")


def ways(conn: Connection) -> dict[Way, bool]:
    """What each role needs, and whether it may."""
    found: dict[Way, bool] = {}
    for row in conn.execute(NEEDS, {"roles": ROLES}):
        found[row["role"], row["way"]] = row["may"] or found.get((row["role"], row["way"]), False)
    return found


@dataclass
class Web:
    """A web process of the release before, and what it goes on to ask: a token, and for webhooks, late ones too."""

    asking: Connection
    polling: Connection
    key: ApiKey
    payment: Row

    def serve(self) -> None:
        with factories.acting(self.asking, "api"):
            taken = self.asking.execute(TAKE, [self.key.id, self.key.hmac(PEPPER)]).fetchall()
            assert [bucket["allowed"] for bucket in taken] == [True, True]
        told = {"provider_event_id": f"evt_{uuid4().hex}", "type": "charge.refunded", "body_sha256": "0" * 64}
        told |= {"payload": {}, "livemode": False, "created_at_provider": "2026-01-01T00:00:00Z"}
        assert self.store(self.asking, "api", told | {"received_by": "webhook", "request_id": "r", "trace_id": "t"})
        late = told | {"provider_event_id": f"evt_{uuid4().hex}", "payment_ref": self.payment["provider_ref"]}
        assert self.store(self.polling, "reconciler", late | {"received_by": "poll"})
        assert not self.store(self.asking, "api", late | {"received_by": "webhook", "request_id": "r", "trace_id": "t"})
        [awaited] = self.polling.execute("select over_by from awaited_webhooks order by webhook_id desc limit 1")
        assert awaited == {"over_by": "webhook"}

    def store(self, conn: Connection, actor_type: str, event: Row) -> bool:
        """Whether it was new; what is found by asking is awaited."""
        with factories.acting(conn, actor_type):
            row = conn.execute(STORE, [Jsonb([event])]).fetchone()
            if event["received_by"] == "poll":
                conn.execute("select await_webhooks('stripe', 'default', array[%s])", [event["provider_event_id"]])
        assert row is not None
        return bool(row["stored"])


def after_each_file(url: str, ask: Callable[[], None]) -> Sequence[str]:
    """Migrate, and ask before the first file and after each; the names of the files, the release before first."""
    names = ["the release before"]

    def next_one(name: str) -> None:
        ask()
        names.append(name)

    migrate(url, report=next_one)
    ask()
    return names


def test_whoever_serves_may_go_on_after_each_file_of_a_release(
    empty: Clone, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out_before(release)
    migrate(empty.admin_url, runtime_login=LOGIN)
    monkeypatch.setattr(scripts, "SQL_DIR", SQL_DIR)
    admin = empty.connect(admin=True)
    payment = factories.payment(admin, "confirmed")
    web = Web(empty.connect(), admin, factories.api_key(admin, payment["merchant_id"]), payment)
    seen: list[dict[Way, bool]] = []

    def ask() -> None:
        web.serve()
        seen.append(ways(admin))

    names = after_each_file(empty.admin_url, ask)
    before, after = seen[0], seen[-1]
    refused = [
        (name, *way)
        for name, may in zip(names, seen, strict=True)
        for way in (may | before)
        if after.get(way) and not may.get(way, False) and (" " in way[1] or before.get(way))
    ]
    assert refused == []
    assert {f"migrations/{path.name}" for path in (SQL_DIR / "migrations").glob("*") if path.name[:4] > LAST} < {*names}
