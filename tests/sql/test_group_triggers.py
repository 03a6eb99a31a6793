"""A group is one statement and leaves what as many statements leave: the same entries, events, deliveries and jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import factories
from tests.factories import Connection, Row

STEPS = {
    "an edge": "state = 'confirmed', amount_captured = p.amount, provider_rank = 60",
    "a fact": "observed_version = 7",
    "an edge that is a milestone too": "state = 'settled', amount_captured = p.amount, provider_rank = 60",
}
LEFT = """
select 'audit' as what, jsonb_agg(
  to_jsonb(a) - array['id', 'recorded_at', 'recorded_xid', 'row_sha256'] || jsonb_build_object(
    'body', a.body::jsonb #- '{after,updated_at}' #- '{before,updated_at}' #- '{after,settled_at}'
      #- '{after,confirmed_at}',
    'hashed', a.row_sha256 = audit_row_sha256(a))
  order by a.payment_id, a.payment_version) as rows
from audit_log a where a.actor_id = 'grouped'
union all
select 'events', jsonb_agg(to_jsonb(e) - array['id', 'occurred_at', 'recorded_xid'] order by e.payment_id, e.id)
from events e where e.causation_id like 'cause of %'
union all
select 'deliveries', jsonb_agg(to_jsonb(d) - array['event_id', 'due_at', 'created_at', 'job_id'] || jsonb_build_object(
         'queue', j.queue_name, 'task', j.task_name, 'is_its_own', j.args ->> 'event_id' = d.event_id::text,
         'handler', j.args ->> 'handler') order by d.payment_id, d.event_id, d.handler)
from deliveries d join procrastinate_jobs j on j.id = d.job_id
where exists (select from events e where e.id = d.event_id and e.causation_id like 'cause of %')
union all
select 'books', jsonb_agg(to_jsonb(r) - 'due_at' order by r.payment_id) from reconcile_due r
"""


@pytest.mark.parametrize("what", STEPS)
def test_a_group_leaves_what_its_rows_would_leave_one_by_one(conn: Connection, what: str) -> None:
    start = "confirmed" if "milestone" in what else "submitted"
    payments = [factories.payment(conn, start) for _ in range(6)]
    conn.execute("delete from reconcile_due")
    one_by_one = left_by(conn, STEPS[what], [[p] for p in payments])
    at_once = left_by(conn, STEPS[what], [payments])
    assert at_once == one_by_one
    assert len(at_once["audit"]) == 6 and all(entry["hashed"] for entry in at_once["audit"])
    assert what == "a fact" or len(at_once["events"]) == len(at_once["books"]) == 6


def left_by(conn: Connection, step: str, groups: list[list[Row]]) -> dict[str, Any]:
    """What is there after these groups took the step, each payment for a cause of its own; all of it rolled back."""
    with conn.transaction(force_rollback=True), factories.acting(conn, "worker", actor_id="grouped"):
        for group in groups:
            causes = {str(p["id"]): f"cause of {p['id']}" for p in group}
            if len(group) == 1:
                conn.execute("select set_config('postbox.causation_id', %s, true)", list(causes.values()))
            else:
                conn.execute("select set_config('postbox.causation_id', '', true)")
                conn.execute("select set_config('postbox.causations', %s, true)", [json.dumps(causes)])
            conn.execute(f"update payments p set {step} where id = any(%s)", [[p["id"] for p in group]])
        conn.execute("select set_config('postbox.causations', '', true), set_config('role', 'none', true)")
        return {row["what"]: row["rows"] for row in conn.execute(LEFT).fetchall()}


EDGE = "state = 'confirmed', amount_captured = amount, provider_rank = 60"
MINE = "where id = %(id)s"
ON = "set_config('postbox.causations', jsonb_build_object(id, 'c')::text, true)"
OFF = "set_config('postbox.causations', '', true)"
WAYS = {
    "update from": f"update payments p set {EDGE} from (values (%(id)s::uuid)) w (id) where p.id = w.id",
    "merge": "merge into payments p using (values (%(id)s::uuid)) w (id) on p.id = w.id"
    f" when matched then update set {EDGE}",
    "within another": f"with moved as (update payments p set {EDGE} {MINE} returning id) select id from moved",
    "switched on while it runs": f"update payments p set {EDGE} {MINE} and {ON} is not null",
    "switched off while it runs": f"update payments p set {EDGE} {MINE} returning {OFF}",
    "switched on and off": f"update payments p set {EDGE} {MINE} and {ON} is not null returning {OFF}",
}


@pytest.mark.parametrize("is_group", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_whoever_switches_a_group_on_or_off_is_audited_and_told_once(
    conn: Connection, way: str, is_group: bool
) -> None:
    payment = factories.payment(conn, "submitted")
    with factories.acting(conn, "worker", actor_id="switching"):
        if is_group:
            conn.execute("select set_config('postbox.causations', %s, true)", [json.dumps({str(payment["id"]): "c"})])
        conn.execute(WAYS[way].encode(), {"id": payment["id"]})
    entries = conn.execute("select count(*) as n from audit_log where actor_id = 'switching'").fetchone()
    events = conn.execute(
        "select count(*) as n from events e where payment_id = %s and topic = 'payment.confirmed' and exists ("
        " select from deliveries d where d.event_id = e.id and d.job_id is not null)",
        [payment["id"]],
    ).fetchone()
    assert (entries, events) == ({"n": 1}, {"n": 1})
