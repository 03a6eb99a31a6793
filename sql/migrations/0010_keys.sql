-- What a key may do and from where, which key it took over from, and when it was used last.
-- A table of keys is small: its constraints are checked, and its index built, within the lock that the columns take anyway.
-- squawk-ignore-file constraint-missing-not-valid, adding-foreign-key-constraint, require-concurrent-index-creation

alter table api_keys
  add column scopes text[] not null default array[
    'payments:read', 'payments:write', 'refunds:read', 'refunds:write', 'disputes:read', 'balance:read', 'events:read'],
  add column allowed_from cidr[],
  add column replaces text,
  add constraint api_keys_scopes_are_named check (
    array_to_string(scopes, ' ') ~ '^[a-z_]+:(read|write)( [a-z_]+:(read|write))*$'),
  add constraint api_keys_allowed_from_is_not_empty check (cardinality(allowed_from) > 0),
  add constraint api_keys_replaces_another check (replaces <> id),
  add constraint api_keys_replaces_a_key_of_its_merchant foreign key (merchant_id, replaces)
    references api_keys (merchant_id, id) on delete restrict;
comment on column api_keys.scopes is
  'What it may do, by the names in app/model/scope.py. The default is what the keys of the first release could.';
comment on column api_keys.allowed_from is 'The networks it may be used from; null is everywhere.';
comment on column api_keys.replaces is 'The key that was rotated out for this one; both work until that one expires.';
create unique index api_keys_rotated_once on api_keys (merchant_id, replaces) where replaces is not null;

create table api_key_uses (
  merchant_id uuid not null,
  key_id text not null,
  last_used_at timestamptz not null,
  last_address inet,
  primary key (merchant_id, key_id),
  constraint api_key_uses_key_exists foreign key (merchant_id, key_id) references api_keys (merchant_id, id) on delete restrict
) with (fillfactor = 50);
comment on table api_key_uses is
  'One row per key that was ever used: when last, to the minute, and from where. Written with the token it takes.';
