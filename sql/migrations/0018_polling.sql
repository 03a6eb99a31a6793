-- What nobody told us: runs that ask the provider and their dates, payouts with their lines, and how an event was learned of.

alter table webhooks
  add column received_by text not null default 'webhook',
  add constraint webhooks_received_by_is_known check (received_by in ('webhook', 'poll')) not valid;
comment on column webhooks.received_by is 'webhook: the provider sent it. poll: found in its list of events, before or instead of that.';

create table reconciliation_runs (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  kind text not null,
  provider text not null,
  account text not null,
  -- one run for one of these: an hour, a day, a state of a payout
  subject text not null,
  status text not null default 'requested',
  asked_by text not null,
  requested_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  -- how far it is, and what it found
  position jsonb not null default '{}',
  found jsonb not null default '{}',
  primary key (merchant_id, id),
  foreign key (merchant_id, provider, account) references provider_accounts on delete restrict,
  constraint reconciliation_runs_one_for_each_subject unique (merchant_id, provider, account, kind, subject),
  constraint reconciliation_runs_kind_is_known check (kind in ('changes', 'balance', 'payout', 'nightly')),
  constraint reconciliation_runs_status_is_known check (status in ('requested', 'finished')),
  constraint reconciliation_runs_finished_at_iff_finished check ((status = 'finished') = (finished_at is not null)),
  constraint reconciliation_runs_subject_is_bounded check (length(subject) between 1 and 400)
) with (fillfactor = 70);
comment on table reconciliation_runs is
  'One row per look at a provider as a whole: its changes of an hour, its balance of a day, one of its payouts, our payments of a night.';
create index reconciliation_runs_open on reconciliation_runs (kind, requested_at) where status = 'requested';
create index reconciliation_runs_newest on reconciliation_runs (kind, requested_at desc);

create table payouts (
  merchant_id uuid not null references merchants on delete restrict,
  provider text not null,
  account text not null,
  ref text not null,
  status text not null,
  -- money, in minor units of currency
  currency text not null references currencies (code) on delete restrict,
  amount bigint not null,
  -- when
  created_at_provider timestamptz not null,
  arrives_at timestamptz not null,
  paid_at timestamptz,
  recorded_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- where to, and what it is made of
  destination text,
  automatic boolean not null,
  failure_code text,
  lines_read_at timestamptz,
  primary key (merchant_id, provider, account, ref),
  foreign key (merchant_id, provider, account) references provider_accounts on delete restrict,
  constraint payouts_status_is_known check (status in ('pending', 'in_transit', 'paid', 'failed', 'canceled')),
  constraint payouts_paid_has_paid_at check (status <> 'paid' or paid_at is not null),
  constraint payouts_failure_code_only_when_failed check (failure_code is null or status = 'failed'),
  constraint payouts_only_automatic_ones_are_itemised check (automatic or lines_read_at is null)
) with (fillfactor = 70);
comment on table payouts is
  'One row per payout of a provider to our bank. A paid one may still fail. Only automatic ones say which lines they are made of.';

alter table provider_transactions add column payout_ref text;
comment on column provider_transactions.payout_ref is 'The payout that brought this line to our bank, once the provider has itemised it.';

insert into ledger_entry_kinds (kind, meaning) values
  ('payout_paid', 'a payout reached our bank: bank +amount, cash in transit -amount'),
  ('payout_returned', 'a paid payout failed after all: the opposite of its payout_paid');
insert into topics (topic, merchant_visible) values
  ('reconciliation.changes_due', false), ('reconciliation.balance_due', false), ('reconciliation.payout_due', false),
  ('payout.pending', false), ('payout.in_transit', false), ('payout.paid', false), ('payout.failed', false), ('payout.canceled', false);
insert into subscriptions (topic, handler, lane) values
  ('reconciliation.changes_due', 'list_changes', 'remote'),
  ('reconciliation.balance_due', 'prove_balance', 'remote'),
  ('reconciliation.payout_due', 'read_payout', 'remote'),
  ('payout.paid', 'post_payout', 'local'),
  ('payout.failed', 'post_payout', 'local');
