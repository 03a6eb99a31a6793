-- What an operator, and an address that signs in, may still ask for; and when a refused sign-in was last audited.

alter table rate_limits
  -- squawk-ignore ban-drop-constraint
  drop constraint rate_limits_scope_is_known,
  -- squawk-ignore ban-drop-constraint
  drop constraint rate_limits_merchant_is_named_by_its_id,
  add constraint rate_limits_scope_is_known check (scope in ('key', 'merchant', 'operator', 'address')) not valid,
  add constraint rate_limits_merchant_is_named_by_its_id check (scope <> 'merchant' or id = merchant_id::text) not valid,
  add constraint rate_limits_of_people_are_the_platforms
    check (scope in ('key', 'merchant') or merchant_id = '00000000-0000-0000-0000-000000000000') not valid;
comment on table rate_limits is
  'One row per token bucket, made by the first request with a good key or session: at most two per key, merchant and operator, '
  'and 65,536 for the addresses that sign in, so nothing sweeps them. Unlogged: after a crash every bucket is full again, which '
  'is a burst and no more.';

alter table sign_in_failures
  -- squawk-ignore ban-drop-constraint
  drop constraint sign_in_failures_scope_is_known,
  add column told_at timestamptz not null default '-infinity',
  add column untold integer not null default 0,
  add constraint sign_in_failures_scope_is_known check (scope in ('name', 'address', 'nobody')) not valid,
  add constraint sign_in_failures_untold_are_counted check (untold >= 0) not valid;
comment on column sign_in_failures.told_at is 'When a refusal was last audited: at most one a second of each operator, and one of all others.';
comment on column sign_in_failures.untold is 'How many there were since, for the next entry to say.';
