-- Reconciliation: what does not meet, how bad it is and until when, who closed it; and when each payment is looked at next.

create table discrepancy_types (
  type text primary key,
  severity text not null,
  fix_within interval not null,
  -- how long the other side may lag behind before it is one; what is counted by state has its rows in state_deadlines
  grace interval not null default '0',
  closes_itself boolean not null default true,
  asks_provider boolean not null default false,
  meaning text not null,
  constraint discrepancy_types_severity_is_known check (severity in ('critical', 'high', 'medium', 'low')),
  constraint discrepancy_types_times_are_not_negative check (fix_within > interval '0' and grace >= interval '0')
);
comment on table discrepancy_types is
  'Every kind of discrepancy: its severity, how soon it is to be fixed, and how long it is waited for what is only late.';
comment on column discrepancy_types.closes_itself is 'Closed when the books meet again; the others wait for a person whatever happens.';
comment on column discrepancy_types.asks_provider is 'The payment''s object is fetched once more when one is opened.';
insert into discrepancy_types (type, severity, fix_within, grace, closes_itself, asks_provider, meaning) values
  ('missing_at_provider', 'critical', '24 hours', '0', true, true, 'confirmed here, and the provider has no money line for it'),
  ('missing_here', 'critical', '24 hours', '15 minutes', true, false, 'a money line of the provider is about no payment of ours'),
  ('amount_mismatch', 'critical', '24 hours', '0', true, false, 'the provider''s charge is another amount than was captured'),
  ('currency_mismatch', 'critical', '24 hours', '0', true, false, 'the provider''s charge is in another currency, and was not exchanged'),
  ('duplicate_charge', 'critical', '24 hours', '0', true, false, 'a payer was charged twice for one payment, or by two alike'),
  ('money_after_final', 'critical', '24 hours', '0', true, false, 'a failed or canceled payment holds money at the provider'),
  ('ledger_imbalance', 'critical', '24 hours', '0', false, false, 'the books do not sum to zero, or a balance is not its lines'),
  ('state_mismatch', 'high', '2 days', '10 minutes', true, true, 'the provider is further than we are'),
  ('outcome_unknown_aged', 'high', '2 days', '0', true, false, 'nobody could tell for too long what became of a call'),
  ('refund_mismatch', 'high', '2 days', '10 minutes', true, true, 'refunds here and at the provider are not the same money'),
  ('dispute_mismatch', 'high', '2 days', '10 minutes', true, true, 'disputes here and at the provider are not the same money'),
  ('clearing_nonzero', 'high', '2 days', '70 minutes', true, false, 'our side of the books and the provider''s do not meet'),
  ('settlement_missing', 'high', '2 days', '0', true, true, 'money that should be available by now is not'),
  ('payout_mismatch', 'high', '2 days', '0', true, false, 'the lines of a payout are not its amount'),
  ('balance_mismatch', 'high', '2 days', '0', true, false, 'the provider''s balance is not what our books say it is'),
  ('stale_state', 'medium', '5 days', '0', true, false, 'nothing was heard for longer than a payment may rest in its state'),
  ('suspense_aged', 'medium', '5 days', '2 days', true, false, 'a line of the provider has waited too long to be explained'),
  ('webhook_missing', 'medium', '5 days', '1 hour', true, false, 'a change was found by asking that no webhook ever told'),
  ('fee_mismatch', 'low', '10 days', '0', true, false, 'the provider''s fee is not what its price list says');

create table state_deadlines (
  state text not null references payment_states on delete restrict,
  method text not null,
  type text not null references discrepancy_types on delete restrict,
  counted_from text not null,
  silent_for interval not null,
  primary key (state, method, type),
  constraint state_deadlines_method_is_known check (method in ('card', 'us_bank_account', 'ach')),
  constraint state_deadlines_counted_from_is_known check (
    counted_from in ('entered', 'action_expires_at', 'capture_before', 'confirmed_at', 'available_on')),
  constraint state_deadlines_silence_is_not_negative check (silent_for >= interval '0')
);
comment on table state_deadlines is
  'How long a payment may rest in a state without a word: after that, silence itself is a discrepancy. In production''s time.';
insert into state_deadlines (state, method, type, counted_from, silent_for)
select s.state, m.method, s.type, s.counted_from, case m.method when 'card' then s.card else s.bank end
from (values
  ('initiated', 'stale_state', 'entered', interval '1 minute', interval '1 minute'),
  ('submitting', 'stale_state', 'entered', interval '2 minutes', interval '1 day'),
  ('outcome_unknown', 'outcome_unknown_aged', 'entered', interval '15 minutes', interval '2 hours'),
  ('submitted', 'stale_state', 'entered', interval '10 minutes', interval '7 days'),
  ('requires_action', 'stale_state', 'action_expires_at', interval '1 hour', interval '1 hour'),
  ('authorized', 'stale_state', 'capture_before', interval '1 hour', interval '1 hour')
) s (state, type, counted_from, card, bank)
cross join (values ('card'), ('us_bank_account'), ('ach')) m (method)
union all
-- whatever became of it afterwards: what was confirmed has a line at the provider, and that line becomes available
select s.state, m.method, t.type, t.counted_from, case m.method when 'card' then t.card else t.bank end
from (values ('confirmed'), ('settled'), ('disputed'), ('refunded'), ('charged_back'), ('returned')) s (state)
cross join (values
  ('missing_at_provider', 'confirmed_at', interval '15 minutes', interval '1 day'),
  ('settlement_missing', 'available_on', interval '1 day', interval '1 day')
) t (type, counted_from, card, bank)
cross join (values ('card'), ('us_bank_account'), ('ach')) m (method);

create table provider_prices (
  provider text not null,
  account text not null,
  method text not null,
  currency text not null references currencies (code) on delete restrict,
  bps integer not null,
  fixed bigint not null default 0,
  primary key (provider, account, method, currency),
  constraint provider_prices_method_is_known check (method in ('card', 'us_bank_account', 'ach')),
  constraint provider_prices_bps_is_a_share check (bps between 0 and 10000),
  constraint provider_prices_fixed_is_not_negative check (fixed >= 0)
);
comment on table provider_prices is
  'What a provider has agreed to charge us: basis points of a charge, plus a fixed part. Without a row its fees are not compared.';

alter table provider_transactions add column exchanged boolean not null default false;
comment on column provider_transactions.exchanged is 'The provider converted it: its currency may then differ from the payment''s.';

create table reconcile_due (
  merchant_id uuid not null,
  payment_id uuid not null,
  due_at timestamptz not null,
  primary key (merchant_id, payment_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
comment on table reconcile_due is
  'When each payment''s books are compared next: half a second after anything happened to it, else when silence becomes too long.'
  ' No row: there is nothing to wait for.';
create index reconcile_due_by_time on reconcile_due (due_at);

create table discrepancies (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  type text not null references discrepancy_types on delete restrict,
  severity text not null,
  status text not null default 'open',
  -- what it is about
  subject text not null,
  payment_id uuid,
  provider text,
  account text,
  ref text not null default '',
  fingerprint text not null generated always as (type || ' ' || subject || ' ' || ref) stored,
  -- money, in minor units of currency
  currency text,
  expected bigint,
  actual bigint,
  delta bigint generated always as (actual - expected) stored,
  -- when
  evidence_at timestamptz not null,
  first_seen_at timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  sla_due_at timestamptz not null,
  occurrences integer not null default 1,
  reopens integer not null default 0,
  detected_by text not null,
  -- who looks after it, and how it ended
  acknowledged_by text,
  acknowledged_at timestamptz,
  write_off_asked_by text,
  write_off_asked_at timestamptz,
  closed_at timestamptz,
  resolved_by text,
  approved_by text,
  resolution_code text,
  resolution_note text,
  resolution_entry_id uuid,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  foreign key (merchant_id, resolution_entry_id) references ledger_entries (merchant_id, id) on delete restrict,
  constraint discrepancies_status_is_known check (status in ('open', 'acknowledged', 'auto_resolved', 'resolved', 'written_off')),
  constraint discrepancies_severity_is_known check (severity in ('critical', 'high', 'medium', 'low')),
  constraint discrepancies_detected_by_is_known check (detected_by in ('realtime', 'clock', 'poll', 'daily', 'operator')),
  constraint discrepancies_payment_is_its_subject check ((payment_id is not null) = (subject = 'payment/' || payment_id)),
  constraint discrepancies_amounts_have_a_currency check (num_nonnulls(expected, actual) = 0 or currency is not null),
  constraint discrepancies_counts_are_not_negative check (occurrences > 0 and reopens >= 0),
  constraint discrepancies_acknowledged_by_somebody check ((acknowledged_by is null) = (acknowledged_at is null)),
  constraint discrepancies_acknowledged_has_a_name check (status <> 'acknowledged' or acknowledged_by is not null),
  constraint discrepancies_write_off_is_asked_by_somebody check ((write_off_asked_by is null) = (write_off_asked_at is null)),
  constraint discrepancies_closed_says_when_who_and_why check (
    (status in ('open', 'acknowledged')) = (closed_at is null) and (closed_at is null) = (resolved_by is null)
    and (closed_at is null) = (resolution_code is null)),
  constraint discrepancies_a_person_says_why check (status not in ('resolved', 'written_off') or resolution_note is not null),
  constraint discrepancies_written_off_by_two check (
    (status = 'written_off') = (approved_by is not null) and (status = 'written_off') = (resolution_entry_id is not null)
    and approved_by <> resolved_by),
  constraint discrepancies_texts_are_bounded check (length(subject) <= 400 and length(ref) <= 255 and length(resolution_note) <= 2000)
) with (fillfactor = 80);
comment on table discrepancies is
  'One row per disagreement between two books, from the moment it was found until it was closed, and by whom. Never deleted.';
comment on column discrepancies.evidence_at is 'From when it was one: what made it so was stored then, or silence became too long.';
comment on column discrepancies.last_seen_at is 'When it was found last with other amounts than before.';
comment on column discrepancies.reopens is 'How often the same was open before.';
create unique index discrepancies_open_once on discrepancies (merchant_id, fingerprint) where closed_at is null;
create index discrepancies_by_fingerprint on discrepancies (merchant_id, fingerprint);
create index discrepancies_by_subject on discrepancies (merchant_id, subject) where closed_at is null;
create index discrepancies_open_by_severity on discrepancies (severity, sla_due_at) where closed_at is null;
create index discrepancies_newest on discrepancies (first_seen_at desc);

insert into ledger_entry_kinds (kind, meaning) values
  ('written_off', 'J11: losses +amount, the account it was found on -amount; by two operators');
insert into topics (topic, merchant_visible) values ('discrepancy.opened', false), ('discrepancy.closed', false);

-- In a database that already has payments each is compared once: those of the last 90 days, which is as far back as a night looks.
insert into reconcile_due (merchant_id, payment_id, due_at)
select merchant_id, id, clock_timestamp() from payments where updated_at > clock_timestamp() - interval '90 days';
