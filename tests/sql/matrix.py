"""Tries statements on one payment under every role and actor, and says what each came to; nothing of it stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.factories import Connection, Row
from tests.sql.edges import ACTORS, ROLE_ACTORS, topics

# One block per attempt: what it wrote is read, then an error undoes it. Inside the server, because there are
# twenty thousand attempts.
_ATTEMPT_ALL = """
create function pg_temp.attempt_all(
  p_merchant_id uuid, p_id uuid, p_version bigint, p_mode text, p_roles text[], p_actors text[], p_statements jsonb)
  returns table (role text, actor text, statement text, result text, evidence jsonb) language plpgsql
  set postbox.actor_id = 'somebody' set postbox.on_behalf_of = 'alice'
  -- set below, and put back at the end
  set postbox.merchant_id = '' set postbox.causation_id = '' set postbox.causations = ''
as $$
declare
  wanted jsonb;
  told text;
begin
  perform set_config('postbox.merchant_id', p_merchant_id::text, true),
          case p_mode when 'row' then set_config('postbox.causation_id', p_mode, true)
                      else set_config('postbox.causations', jsonb_build_object(p_id, p_mode)::text, true) end;
  foreach role in array p_roles loop
    foreach actor in array p_actors loop
      for wanted in select * from jsonb_array_elements(p_statements) loop
        statement := wanted ->> 'name';
        begin
          perform set_config('postbox.actor_type', actor, true), set_config('role', role, true);
          execute wanted ->> 'sql';
          perform set_config('role', 'none', true);
          raise exception 'undone' using errcode = 'PBUND', detail = pg_temp.evidence(p_id, p_version);
        exception when others then
          get stacked diagnostics result = returned_sqlstate, told = pg_exception_detail;
          evidence := case when result = 'PBUND' then told::jsonb end;
          result := case when result = 'PBUND' then 'accepted' else result end;
        end;
        return next;
      end loop;
    end loop;
  end loop;
end $$
"""

# Everything that was said of the payment since that version.
_EVIDENCE = """
create function pg_temp.evidence(p_id uuid, p_version bigint) returns text language sql as $$
  with audits as (
    select * from postbox.audit_log where payment_id = p_id and payment_version > p_version
  ),
  events as (select * from postbox.events where payment_id = p_id and payment_version > p_version),
  said as (
    select recorded_xid, causation_id from audits union all select recorded_xid, causation_id from events
  )
  select jsonb_build_object(
    'state', p.state, 'version', p.version,
    'audited_as', (select jsonb_agg(jsonb_build_array(entity_type, payment_version, actor_type, db_role)
                                    order by payment_version) from audits),
    'topics', (select coalesce(jsonb_agg(topic order by payment_version, id), '[]') from events),
    'deliveries', (select count(*) from postbox.deliveries d join events e on e.id = d.event_id
                   join procrastinate.procrastinate_jobs j on j.id = d.job_id),
    'causes', (select jsonb_agg(distinct causation_id) from said),
    'one_xid', (select bool_and(recorded_xid = pg_current_xact_id()) from said))::text
  from postbox.payments p where p.id = p_id
$$
"""

# Each row speaks for itself, or one statement for all its rows: whoever writes switches by a setting. The events and
# entries name the mode as their cause.
MODES = ("row", "group")


@dataclass(frozen=True)
class Attempt:
    """One statement under one role and actor: `result` is "accepted" or the SQLSTATE; evidence only when accepted."""

    role: str
    actor: str
    statement: str
    result: str
    evidence: dict[str, Any] | None


def attempt_all(
    conn: Connection,
    p: Row,
    statements: Mapping[str, sql.Composable],
    *,
    mode: str = "row",
) -> list[Attempt]:
    """Every statement under every role and every actor type."""
    if conn.execute("select to_regprocedure('pg_temp.evidence(uuid, bigint)') is null as missing").fetchone() == {
        "missing": True
    }:
        conn.execute(_EVIDENCE)
        conn.execute(_ATTEMPT_ALL)
    given = [{"name": name, "sql": statement.as_string(conn)} for name, statement in statements.items()]
    rows = conn.execute(
        "select * from pg_temp.attempt_all(%s, %s, %s, %s, %s, %s, %s)",
        [p["merchant_id"], p["id"], p["version"], mode, list(ROLE_ACTORS), list(ACTORS), Jsonb(given)],
    )
    return [Attempt(**row) for row in rows]


def evidence_due(p: Row, a: Attempt, states: list[str], mode: str, subscribed: Mapping[str, int]) -> dict[str, Any]:
    """What these accepted steps must leave: an audit entry each, its events and their deliveries, under one xid."""
    told: list[str] = []
    before, settled = p["state"], p["settled_at"] is not None
    for state in states:
        told += topics(before, state, settled=settled)
        before, settled = state, settled or state == "settled"
    versions = [p["version"] + n for n, _ in enumerate(states, 1)]
    return {
        "state": states[-1],
        "version": versions[-1],
        "audited_as": [["payment", version, a.actor, a.role] for version in versions],
        "topics": told,
        "deliveries": sum(subscribed.get(topic, 0) for topic in told),
        "causes": [mode],
        "one_xid": True,
    }


def subscriptions(conn: Connection) -> dict[str, int]:
    return {r["topic"]: r["n"] for r in conn.execute("select topic, count(*) as n from subscriptions group by topic")}


def rows_in_all(conn: Connection) -> Row:
    row = conn.execute(
        "select (select count(*) from audit_log) as audit, (select count(*) from events) as events,"
        " (select count(*) from deliveries) as deliveries, (select count(*) from procrastinate_jobs) as jobs"
    ).fetchone()
    assert row is not None
    return row


def update(p: Row, columns: Row) -> sql.Composed:
    """A plain UPDATE."""
    return sql.SQL("update postbox.payments set {} where merchant_id = {} and id = {}").format(
        _sets(columns), p["merchant_id"], p["id"]
    )


def update_from(p: Row, columns: Row) -> sql.Composed:
    return sql.SQL(
        "update postbox.payments p set {} from (values ({}::uuid, {}::uuid)) v (m, i)"
        " where p.merchant_id = v.m and p.id = v.i"
    ).format(_sets(columns), p["merchant_id"], p["id"])


def merge(p: Row, columns: Row) -> sql.Composed:
    return sql.SQL(
        "merge into postbox.payments p using (values ({}::uuid, {}::uuid)) v (m, i)"
        " on p.merchant_id = v.m and p.id = v.i"
        " when matched then update set {}"
    ).format(p["merchant_id"], p["id"], _sets(columns))


def upsert(p: Row, columns: Row) -> sql.Composed:
    """An INSERT that meets the payment and updates it instead."""
    names = ("merchant_id", "id", "amount", "currency", "provider", "provider_account", "method", "method_token")
    return sql.SQL(
        "insert into postbox.payments ({}) values ({}) on conflict (merchant_id, id) do update set {}"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Literal(p[name]) for name in names),
        _sets(columns),
    )


def _sets(columns: Row) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(v)) for n, v in columns.items())
