-- name: feed
-- A merchant's events in commit-safe order, after the cursor; what might still be overtaken is not shown yet.
select e.id, e.topic, e.payment_id, e.refund_id, e.dispute_id, e.payment_version, e.payload, e.occurred_at, e.epoch, e.recorded_xid::text as recorded_xid
from events e
join topics t on t.topic = e.topic and t.merchant_visible
join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id and p.livemode = %(livemode)s
where e.merchant_id = %(merchant_id)s
  and (e.epoch, e.recorded_xid, e.id) > (%(epoch)s, %(xid)s::xid8, %(event_id)s::uuid)
  -- transaction ids of an earlier cluster say nothing about this one, and all of them are over
  and (e.epoch < current_epoch() or e.recorded_xid < pg_snapshot_xmin(pg_current_snapshot()))
  and (%(topic)s::text is null or e.topic = %(topic)s)
order by e.epoch, e.recorded_xid, e.id
limit %(limit)s;
