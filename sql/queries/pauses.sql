-- name: set
-- Stop something by hand; no row when it is stopped already.
insert into pauses (kind, name, reason, paused_by) values (%(kind)s, %(name)s, %(reason)s, %(by)s)
on conflict (kind, name) do nothing
returning kind, name, reason, paused_by, paused_at;

-- name: lift
-- Let it go on; no row when it was not stopped.
delete from pauses where kind = %(kind)s and name = %(name)s
returning kind, name, reason, paused_by, paused_at;

-- name: all
-- What is stopped now.
select kind, name, reason, paused_by, paused_at from pauses order by paused_at;

-- name: release
-- What waited behind a pause is due now, up to so many, since the promoter waits meanwhile: the rest is due when it was put off
-- to. What waits behind another pause goes on waiting.
update deliveries d set due_at = clock_timestamp()
from (
  select merchant_id, event_id, handler from deliveries
  where status = 'pending' and job_id is null and deferred_for = 'paused' and due_at > clock_timestamp()
  limit %(limit)s
  for update skip locked
) waiting
where d.merchant_id = waiting.merchant_id and d.event_id = waiting.event_id and d.handler = waiting.handler;

-- name: exists
-- Whether there is such a provider, handler or merchant to stop.
select case %(kind)s
  when 'provider' then exists (select from provider_accounts where provider = %(name)s)
  when 'handler' then exists (select from subscriptions where handler = %(name)s)
  when 'merchant' then exists (select from merchants where id::text = %(name)s) end as known;
