-- Who we process for, how they authenticate, and which account at a provider is whose.

-- The commit-safe cursor needs to know which cluster an xid came from; `postbox migrate` replaces this after a restore.
create function current_epoch() returns integer
  language sql immutable parallel safe
  as 'select 1';
comment on function current_epoch is 'Which life of the database this is: rises when a restore resets transaction ids.';

create table database_epochs (
  epoch integer primary key,
  system_identifier text not null unique,
  began_at timestamptz not null default clock_timestamp()
);
comment on table database_epochs is 'One row per cluster this database has lived in; transaction ids compare only within an epoch.';

create table merchants (
  id uuid primary key default uuidv7(),
  name text not null,
  active boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  constraint merchants_name_is_not_blank check (btrim(name) <> '' and length(name) <= 200)
);
comment on table merchants is 'One row per business we process for: the tenant. The all-zero id is the platform itself.';
insert into merchants (id, name) values ('00000000-0000-0000-0000-000000000000', 'platform');

create table currencies (
  code text primary key,
  exponent smallint not null,
  constraint currencies_code_is_three_lower_case_letters check (code ~ '^[a-z]{3}$'),
  constraint currencies_exponent_is_iso check (exponent between 0 and 4)
);
comment on table currencies is 'ISO 4217 currencies we accept; amounts everywhere are integers in units of 10^-exponent.';

create table provider_currencies (
  provider text not null,
  currency text not null references currencies (code) on delete restrict,
  minimum bigint not null,
  maximum bigint not null,
  multiple bigint not null default 1,
  primary key (provider, currency),
  constraint provider_currencies_bounds_are_ordered check (0 < minimum and minimum <= maximum and multiple > 0)
);
comment on table provider_currencies is
  'What one provider takes in one currency, in our minor units: an amount outside is refused when the payment is created.';

insert into currencies (code, exponent) values
  ('usd', 2), ('eur', 2), ('gbp', 2), ('cad', 2), ('aud', 2), ('nzd', 2), ('chf', 2), ('sek', 2), ('nok', 2), ('dkk', 2),
  ('mxn', 2), ('sgd', 2), ('hkd', 2), ('pln', 2), ('brl', 2), ('inr', 2), ('czk', 2), ('huf', 2), ('ron', 2), ('mga', 2),
  ('jpy', 0), ('krw', 0), ('clp', 0), ('isk', 0), ('ugx', 0),
  ('kwd', 3), ('bhd', 3), ('jod', 3), ('omr', 3), ('tnd', 3);

-- Minimum charge amounts and the eight-digit maximum: Stripe, "Supported currencies". Three-decimal amounts end in 0;
-- MGA is zero-decimal at Stripe and ISK, UGX are sent times 100, which only the adapter knows.
insert into provider_currencies (provider, currency, minimum, maximum, multiple) values
  ('stripe', 'usd', 50, 99999999, 1), ('stripe', 'eur', 50, 99999999, 1), ('stripe', 'gbp', 30, 99999999, 1),
  ('stripe', 'cad', 50, 99999999, 1), ('stripe', 'aud', 50, 99999999, 1), ('stripe', 'nzd', 50, 99999999, 1),
  ('stripe', 'chf', 50, 99999999, 1), ('stripe', 'sek', 300, 99999999, 1), ('stripe', 'nok', 300, 99999999, 1),
  ('stripe', 'dkk', 250, 99999999, 1), ('stripe', 'mxn', 1000, 99999999, 1), ('stripe', 'sgd', 50, 99999999, 1),
  ('stripe', 'hkd', 400, 99999999, 1), ('stripe', 'pln', 200, 99999999, 1), ('stripe', 'brl', 50, 99999999, 1),
  ('stripe', 'inr', 50, 99999999, 1), ('stripe', 'czk', 1500, 99999999, 1), ('stripe', 'huf', 17500, 99999999, 1),
  ('stripe', 'ron', 200, 99999999, 1), ('stripe', 'jpy', 50, 99999999, 1), ('stripe', 'krw', 700, 99999999, 1),
  ('stripe', 'clp', 500, 99999999, 1), ('stripe', 'isk', 70, 999999, 1), ('stripe', 'ugx', 2000, 999999, 1),
  ('stripe', 'mga', 250000, 9999999900, 100),
  ('stripe', 'kwd', 160, 99999990, 10), ('stripe', 'bhd', 190, 99999990, 10), ('stripe', 'jod', 360, 99999990, 10),
  ('stripe', 'omr', 200, 99999990, 10), ('stripe', 'tnd', 1600, 99999990, 10);

create table provider_accounts (
  merchant_id uuid not null references merchants on delete restrict,
  provider text not null,
  account text not null,
  livemode boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, provider, account),
  constraint provider_accounts_account_is_a_slug check (account ~ '^[A-Za-z0-9_-]{1,64}$')
);
comment on table provider_accounts is
  'One row per account at a provider, and whose it is; an account shared by all merchants belongs to the platform.';
create unique index provider_accounts_has_one_owner on provider_accounts (provider, account);
insert into provider_accounts (merchant_id, provider, account)
  values ('00000000-0000-0000-0000-000000000000', 'stripe', 'default');

create table api_keys (
  merchant_id uuid not null references merchants on delete restrict,
  id text not null,
  secret_hmac bytea not null,
  label text not null,
  livemode boolean not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (merchant_id, id),
  constraint api_keys_secret_hmac_is_sha256 check (octet_length(secret_hmac) = 32)
);
comment on table api_keys is 'One row per API key: the public id and an HMAC of the secret; the secret itself is never stored.';
create unique index api_keys_id_names_one_key on api_keys (id);

create table idempotency_keys (
  merchant_id uuid not null references merchants on delete restrict,
  key text not null,
  fingerprint bytea not null,
  status smallint,
  body bytea,
  created_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, key),
  constraint idempotency_keys_fingerprint_is_sha256 check (octet_length(fingerprint) = 32),
  constraint idempotency_keys_answer_is_whole check ((status is null) = (body is null)),
  constraint idempotency_keys_keeps_only_success check (status between 200 and 299),
  constraint idempotency_keys_key_is_bounded check (length(key) between 1 and 255)
) with (fillfactor = 70);
comment on table idempotency_keys is
  'One row per POST that committed: the fingerprint of the request and the exact bytes that answered it.';
create index idempotency_keys_by_age on idempotency_keys (created_at);
