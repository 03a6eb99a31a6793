"""Tries statements on one payment under every role and actor, and says what each came to; nothing of it stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.factories import Connection, Row
from tests.sql.edges import ACTORS, ROLE_ACTORS

# One block per attempt: what it wrote is read, then an error undoes it. Inside the server, because there are
# twenty thousand attempts.
_ATTEMPT_ALL = """
create function pg_temp.attempt_all(p_merchant_id uuid, p_id uuid, p_roles text[], p_actors text[], p_statements jsonb)
  returns table (role text, actor text, statement text, result text, evidence jsonb) language plpgsql as $$
declare
  audits bigint := (select count(*) from postbox.audit_log a where a.payment_id = p_id and a.entity_type = 'payment');
  wanted jsonb;
  told text;
begin
  foreach role in array p_roles loop
    foreach actor in array p_actors loop
      for wanted in select * from jsonb_array_elements(p_statements) loop
        statement := wanted ->> 'name';
        begin
          perform set_config('postbox.actor_type', actor, true), set_config('postbox.actor_id', 'somebody', true),
                  set_config('postbox.on_behalf_of', 'alice', true),
                  set_config('postbox.merchant_id', p_merchant_id::text, true), set_config('role', role, true);
          execute wanted ->> 'sql';
          perform set_config('role', 'none', true);
          raise exception 'undone' using errcode = 'PBUND', detail = pg_temp.evidence(p_id, audits);
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

_EVIDENCE = """
create function pg_temp.evidence(p_id uuid, p_audits bigint) returns text language sql as $$
  select jsonb_build_object(
    'state', p.state, 'version', p.version,
    'audits', (select count(*) from postbox.audit_log where payment_id = p_id and entity_type = 'payment') - p_audits,
    'topics', (select coalesce(jsonb_agg(e.topic order by e.id), '[]') from postbox.events e
               where e.payment_id = p_id and e.payment_version = p.version),
    'deliveries', (select count(*) from postbox.deliveries d join postbox.events e on e.id = d.event_id
                   join procrastinate.procrastinate_jobs j on j.id = d.job_id
                   where e.payment_id = p_id and e.payment_version = p.version),
    'audited_as', (select jsonb_build_array(a.actor_type, a.db_role) from postbox.audit_log a
                   where a.payment_id = p_id and a.payment_version = p.version),
    'one_xid', not exists (
      select recorded_xid from postbox.audit_log a where a.payment_id = p_id and a.payment_version = p.version
        and recorded_xid <> pg_current_xact_id()
      union all select recorded_xid from postbox.events e where e.payment_id = p_id and e.payment_version = p.version
        and recorded_xid <> pg_current_xact_id()))::text
  from postbox.payments p where p.id = p_id
$$
"""


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
    roles: tuple[str, ...] = tuple(ROLE_ACTORS),
    actors: tuple[str, ...] = ACTORS,
) -> list[Attempt]:
    """Every statement under every role and every actor type."""
    if conn.execute("select to_regprocedure('pg_temp.evidence(uuid, bigint)') is null as missing").fetchone() == {
        "missing": True
    }:
        conn.execute(_EVIDENCE)
        conn.execute(_ATTEMPT_ALL)
    given = [{"name": name, "sql": statement.as_string(conn)} for name, statement in statements.items()]
    rows = conn.execute(
        "select * from pg_temp.attempt_all(%s, %s, %s, %s, %s)",
        [p["merchant_id"], p["id"], list(roles), list(actors), Jsonb(given)],
    )
    return [Attempt(**row) for row in rows]


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
