-- name: admit
-- Whether a call may go out: closed circuits always, an open one lets a single probe through when its time has come.
with probe as (
  update circuits set probe_at = clock_timestamp() + make_interval(secs => %(open_for)s), updated_at = clock_timestamp()
  where merchant_id = %(merchant_id)s and provider = %(provider)s and account = %(account)s
    and state = 'open' and probe_at <= clock_timestamp()
  returning 1
)
select coalesce(
  -- who finds the time come and yet no row to take was overtaken by the one probe
  (select case when c.probe_at > clock_timestamp() then extract(epoch from c.probe_at - clock_timestamp())::float8
               else %(open_for)s end
   from circuits c
   where c.merchant_id = %(merchant_id)s and c.provider = %(provider)s and c.account = %(account)s and c.state = 'open'
     and not exists (select from probe)), 0.0) as wait;

-- name: count_failure
-- One more call without an answer; the circuit opens at the threshold, or at once when told.
insert into circuits as c (merchant_id, provider, account, state, failures, opened_at, probe_at, reason)
values (%(merchant_id)s, %(provider)s, %(account)s,
        case when %(at_once)s then 'open' else 'closed' end, 1,
        case when %(at_once)s then clock_timestamp() end,
        case when %(at_once)s then clock_timestamp() + make_interval(secs => %(open_for)s) end,
        %(reason)s)
on conflict (merchant_id, provider, account) do update set
  failures = c.failures + 1,
  reason = %(reason)s,
  updated_at = clock_timestamp(),
  state = case when %(at_once)s or c.failures + 1 >= %(threshold)s then 'open' else c.state end,
  opened_at = case when %(at_once)s or c.failures + 1 >= %(threshold)s then coalesce(c.opened_at, clock_timestamp()) else c.opened_at end,
  probe_at = case when %(at_once)s or c.failures + 1 >= %(threshold)s
    then greatest(c.probe_at, clock_timestamp() + make_interval(secs => %(open_for)s)) else c.probe_at end;

-- name: close
-- The provider answered: forget what went before. Touches no row when there is nothing to forget.
update circuits set state = 'closed', failures = 0, opened_at = null, probe_at = null, reason = null, updated_at = clock_timestamp()
where merchant_id = %(merchant_id)s and provider = %(provider)s and account = %(account)s and (failures > 0 or state = 'open');
