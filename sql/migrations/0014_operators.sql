-- The people who operate Postbox: who they are, how they prove it, and where they are signed in.

create table operators (
  id uuid primary key default uuidv7(),
  name text not null,
  role text not null,
  created_at timestamptz not null default clock_timestamp(),
  disabled_at timestamptz,
  constraint operators_name_is_a_short_word check (name ~ '^[a-z0-9][a-z0-9._@+-]{0,63}$'),
  constraint operators_role_is_known check (role in ('viewer', 'operator', 'approver', 'admin', 'compliance'))
);
comment on table operators is
  'One row per person. The name is what the audit says, so it is never given to another; who leaves is disabled.';
create unique index operators_name_is_one_person on operators (name);

create table operator_credentials (
  operator_id uuid primary key references operators on delete restrict,
  password_hash text not null,
  totp_secret text not null,
  -- the last 30-second step whose code was used: a code works once
  totp_step bigint not null default 0,
  changed_at timestamptz not null default clock_timestamp(),
  constraint operator_credentials_password_is_argon2id check (password_hash like '$argon2id$%')
);
comment on table operator_credentials is
  'How a person proves who they are: an Argon2id hash, and a TOTP secret under a key that is not in the database.';

create table operator_sessions (
  token_hmac bytea primary key,
  operator_id uuid not null references operators on delete restrict,
  address inet,
  created_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  constraint operator_sessions_token_hmac_is_sha256 check (octet_length(token_hmac) = 32)
) with (fillfactor = 70);
comment on table operator_sessions is
  'One row per sign-in that worked; the token itself is only in the browser. How long one lasts is a setting.';
create index operator_sessions_open on operator_sessions (operator_id) where ended_at is null;
create index operator_sessions_by_age on operator_sessions (created_at);

create unlogged table sign_in_failures (
  scope text not null,
  bucket text not null,
  failures integer not null,
  failed_at timestamptz not null,
  free_at timestamptz not null,
  primary key (scope, bucket),
  constraint sign_in_failures_scope_is_known check (scope in ('name', 'address')),
  constraint sign_in_failures_bucket_is_four_hex_digits check (bucket ~ '^[0-9a-f]{4}$'),
  constraint sign_in_failures_are_counted check (failures >= 0)
) with (fillfactor = 50);
comment on table sign_in_failures is
  'Attempts in a row that did not sign in, by name and by address, known or not. Both are hashed into 65,536 buckets, so '
  'that a stranger''s inventions are bounded. Unlogged: after a crash everybody may try again.';
