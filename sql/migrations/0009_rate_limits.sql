-- How much each key and each merchant may still ask for.

create unlogged table rate_limits (
  merchant_id uuid not null references merchants on delete restrict,
  -- whose bucket: of one key, by its id, or of the whole merchant, by its own
  scope text not null,
  id text not null,
  class text not null,
  -- a millionth of a token, so that a whole rate per second refills whole units per microsecond: nothing is rounded
  tokens_micro bigint not null,
  updated_at timestamptz not null,
  primary key (merchant_id, scope, id, class),
  constraint rate_limits_scope_is_known check (scope in ('key', 'merchant')),
  constraint rate_limits_class_is_known check (class in ('read', 'write')),
  constraint rate_limits_merchant_is_named_by_its_id check (scope = 'key' or id = merchant_id::text),
  constraint rate_limits_tokens_are_not_negative check (tokens_micro >= 0)
) with (fillfactor = 20);
comment on table rate_limits is
  'One row per token bucket, made by the first request with a good key: at most two per key and two per merchant, so '
  'nothing sweeps them. Unlogged: after a crash every bucket is full again, which is a burst and no more.';
