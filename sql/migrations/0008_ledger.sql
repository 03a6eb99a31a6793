-- The ledger: double entry, append-only; debit > 0, credit < 0, every entry zero per currency. Fees by schedule.

create table fee_schedules (
  name text not null,
  version integer not null,
  id text not null generated always as (name || '@' || version::text) stored,
  bps integer not null,
  effective_at timestamptz not null default clock_timestamp(),
  primary key (name, version),
  constraint fee_schedules_id_names_one_version unique (id),
  constraint fee_schedules_name_is_a_slug check (name ~ '^[a-z][a-z0-9_-]{0,63}$'),
  constraint fee_schedules_version_is_positive check (version > 0),
  constraint fee_schedules_bps_is_a_share check (bps between 0 and 10000)
);
comment on table fee_schedules is
  'One row per version of a price: basis points of the captured amount, plus a fixed part per currency. Never changed.';

create table fee_schedule_fixed (
  fee_schedule text not null references fee_schedules (id) on delete restrict,
  currency text not null references currencies (code) on delete restrict,
  amount bigint not null,
  primary key (fee_schedule, currency),
  constraint fee_schedule_fixed_amount_is_not_negative check (amount >= 0)
);
comment on table fee_schedule_fixed is 'The fixed part of a price in one currency, in minor units; a currency without a row has none.';

alter table merchants add column fee_schedule text;
comment on column merchants.fee_schedule is
  'The name of the schedule new payments are charged by, in the version then in force; null: no fee.';

-- Not valid: nothing was ever written to either column, so there is nothing to read through.
alter table payments
  add constraint payments_fee_schedule_exists foreign key (fee_schedule) references fee_schedules (id) on delete restrict not valid,
  add constraint payments_fee_is_not_negative check (fee >= 0) not valid,
  add constraint payments_fee_only_by_a_schedule check (fee is null or fee_schedule is not null) not valid,
  add constraint payments_fee_only_once_confirmed check (fee is null or confirmed_at is not null) not valid;
comment on column payments.fee_schedule is 'The price this payment was created under; null: no fee.';
comment on column payments.fee is 'Our fee on the captured amount, in minor units; computed once, when the payment is credited.';

create table ledger_accounts (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  code text not null,
  kind text not null,
  opened_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, id),
  constraint ledger_accounts_code_names_one_account unique (merchant_id, code),
  constraint ledger_accounts_kind_is_known check (kind in ('asset', 'liability', 'income', 'expense')),
  constraint ledger_accounts_merchants_hold_merchant_codes check (
    (merchant_id <> '00000000-0000-0000-0000-000000000000') = (code like 'merchant:%'))
);
comment on table ledger_accounts is
  'One row per account, opened when it is first posted to. What we owe a merchant is the merchant''s; all others are the platform''s.';

create table ledger_entry_kinds (
  kind text primary key,
  meaning text not null
);
comment on table ledger_entry_kinds is 'Every kind of journal there is, and what it books.';
insert into ledger_entry_kinds (kind, meaning) values
  ('payment_credited', 'J1: clearing +captured, merchant -captured +fee, fee revenue -fee'),
  ('funds_released', 'J2: what is left of the payment in the merchant''s pending goes to available'),
  ('fact_recorded', 'a line of the provider: its balance +net, provider fees +fee, the account that explains it -gross'),
  ('fact_available', 'a line of the provider became available: net from its pending to its available balance'),
  ('fact_matched', 'a line of the provider found its payment: suspense +gross, clearing -gross'),
  ('reversal', 'the opposite of an earlier entry, by an operator, with a reason');

create table ledger_entries (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  kind text not null references ledger_entry_kinds on delete restrict,
  source_type text not null,
  source_id text not null,
  payment_id uuid,
  reverses_entry_id uuid,
  recorded_at timestamptz not null default clock_timestamp(),
  epoch integer not null default current_epoch(),
  recorded_xid xid8 not null default pg_current_xact_id(),
  primary key (merchant_id, id),
  constraint ledger_entries_source_is_posted_once unique (merchant_id, kind, source_type, source_id),
  constraint ledger_entries_is_reversed_once unique (merchant_id, reverses_entry_id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  foreign key (merchant_id, reverses_entry_id) references ledger_entries (merchant_id, id) on delete restrict,
  constraint ledger_entries_reverses_iff_reversal check ((kind = 'reversal') = (reverses_entry_id is not null)),
  constraint ledger_entries_source_is_bounded check (
    length(source_type) between 1 and 64 and length(source_id) between 1 and 400)
);
comment on table ledger_entries is
  'One row per journal entry: what made it (its source), in one transaction with its lines. Never changed; a mistake is reversed.';
create index ledger_entries_by_payment on ledger_entries (merchant_id, payment_id) where payment_id is not null;

create table ledger_lines (
  merchant_id uuid not null,
  entry_id uuid not null,
  line integer not null,
  -- where, and how much: debit > 0, credit < 0, in minor units of currency
  account_merchant_id uuid not null,
  account_id uuid not null,
  currency text not null references currencies (code) on delete restrict,
  amount bigint not null,
  payment_id uuid,
  epoch integer not null default current_epoch(),
  recorded_xid xid8 not null default pg_current_xact_id(),
  primary key (merchant_id, entry_id, line),
  foreign key (merchant_id, entry_id) references ledger_entries (merchant_id, id) on delete restrict,
  constraint ledger_lines_account_exists foreign key (account_merchant_id, account_id)
    references ledger_accounts (merchant_id, id) on delete restrict,
  constraint ledger_lines_amount_moves_something check (amount <> 0)
);
comment on table ledger_lines is
  'One row per line of an entry: an amount on an account, for the entry''s payment. A merchant''s entry has lines on the platform''s accounts.';
create index ledger_lines_by_payment on ledger_lines (account_id, currency, payment_id) include (amount);
create index ledger_lines_feed on ledger_lines (account_merchant_id, epoch, recorded_xid, entry_id, line)
  where account_merchant_id <> '00000000-0000-0000-0000-000000000000';

create table ledger_balances (
  merchant_id uuid not null,
  account_id uuid not null,
  currency text not null references currencies (code) on delete restrict,
  amount bigint not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, account_id, currency),
  foreign key (merchant_id, account_id) references ledger_accounts (merchant_id, id) on delete restrict,
  constraint ledger_balances_only_of_merchants check (merchant_id <> '00000000-0000-0000-0000-000000000000')
) with (fillfactor = 50);
comment on table ledger_balances is
  'The sum of an account''s lines, of merchants only: it guards spending. Moved by ledger_close, never set.';

-- Never holds a committed row, so a crash loses nothing with it.
create unlogged table ledger_folds (
  merchant_id uuid not null,
  account_id uuid not null,
  currency text not null,
  recorded_xid xid8 not null default pg_current_xact_id(),
  amount bigint not null,
  primary key (merchant_id, account_id, currency, recorded_xid)
);
comment on table ledger_folds is
  'What an open transaction has posted to merchants and not yet moved into ledger_balances; empty for everybody else.';
create index ledger_folds_by_transaction on ledger_folds (recorded_xid);

create table ledger_counters (
  provider text not null,
  fact_kind text not null,
  counter text not null,
  primary key (provider, fact_kind),
  constraint ledger_counters_counter_is_known check (counter in ('cash_in_transit', 'reserved'))
);
comment on table ledger_counters is
  'What stands against a provider''s line that is about no payment: payouts and reserves. All others are clearing or suspense.';
-- Reporting categories: Stripe, "Reporting categories"; what is not here is about a payment, or waits in suspense.
insert into ledger_counters (provider, fact_kind, counter) values
  ('stripe', 'payout', 'cash_in_transit'), ('stripe', 'payout_reversal', 'cash_in_transit'),
  ('stripe', 'payout_minimum_balance_hold', 'reserved'), ('stripe', 'payout_minimum_balance_release', 'reserved'),
  ('stripe', 'risk_reserved_funds', 'reserved');

insert into topics (topic, merchant_visible) values
  ('fact.recorded', false), ('fact.available', false), ('fact.matched', false);
insert into subscriptions (topic, handler, lane) values
  ('payment.confirmed', 'credit_merchant', 'local'),
  ('payment.adopted', 'credit_merchant', 'local'),
  ('payment.settled', 'release_funds', 'local'),
  ('fact.recorded', 'post_fact', 'local'),
  ('fact.available', 'post_fact', 'local'),
  ('fact.matched', 'post_fact', 'local');

-- In a database that already has payments the books begin complete: what was confirmed and settled before is owed to the
-- new handlers too, and every stored fact tells itself once, as it is now. Deliveries without a job are promoted by the
-- sweeper; UNIQUE sources make a second run of this harmless.
insert into deliveries (merchant_id, event_id, handler, topic, lane, payment_id)
select e.merchant_id, e.id, s.handler, e.topic, s.lane, e.payment_id
from events e
join subscriptions s on s.topic = e.topic and s.handler in ('credit_merchant', 'release_funds');
insert into events (merchant_id, topic, payment_id, payload, correlation_id)
select merchant_id, 'fact.recorded', payment_id,
       jsonb_build_object('provider', provider, 'account', account, 'ref', ref, 'kind', kind, 'currency', currency,
         'gross', gross, 'fee', fee, 'net', net, 'status', status), coalesce(payment_id::text, ref)
from provider_transactions;
