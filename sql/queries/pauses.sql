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
-- What waited behind a pause is due now; what waits behind another one goes on waiting.
update deliveries set due_at = clock_timestamp()
where status = 'pending' and job_id is null and deferred_for = 'paused' and due_at > clock_timestamp();

-- name: exists
-- Whether there is such a provider, handler or merchant to stop.
select case %(kind)s
  when 'provider' then exists (select from provider_accounts where provider = %(name)s)
  when 'handler' then exists (select from subscriptions where handler = %(name)s)
  when 'merchant' then exists (select from merchants where id::text = %(name)s) end as known;
