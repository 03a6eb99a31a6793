-- The payment, its states and its edges.

create table actor_types (
  name text primary key
);
comment on table actor_types is 'Who can act: every transaction that writes carries one of these.';
insert into actor_types values ('api'), ('worker'), ('webhook'), ('reconciler'), ('operator'), ('system');

create table role_actors (
  role text not null,
  actor_type text not null references actor_types on delete restrict,
  primary key (role, actor_type)
);
comment on table role_actors is 'Which actor types a database role may set; the check trigger reads it on every write.';
insert into role_actors (role, actor_type) values
  ('postbox_api', 'api'),
  ('postbox_worker', 'worker'), ('postbox_worker', 'webhook'), ('postbox_worker', 'reconciler'),
  ('postbox_operator', 'operator'), ('postbox_operator', 'reconciler'),
  ('postbox_owner', 'operator'), ('postbox_owner', 'system');

create table payment_states (
  state text primary key,
  rank smallint not null,
  terminal text not null,
  meaning text not null,
  constraint payment_states_terminal_is_known check (terminal in ('no', 'soft', 'hard'))
);
comment on table payment_states is 'The 14 states; rank orders them for display only.';
insert into payment_states (state, rank, terminal, meaning) values
  ('initiated', 0, 'no', 'Accepted by the API; nothing was sent to anyone.'),
  ('submitting', 10, 'no', 'A worker owns the submit operation; the provider may have been called.'),
  ('outcome_unknown', 15, 'no', 'A call was sent and there is no definite answer; resolved by asking.'),
  ('submitted', 20, 'no', 'The provider definitely has it; no promise of money.'),
  ('requires_action', 30, 'no', 'Waiting for the payer.'),
  ('authorized', 40, 'no', 'Funds held, not captured.'),
  ('confirmed', 50, 'no', 'The provider says the payment succeeded.'),
  ('settled', 60, 'no', 'Funds available to us; not irrevocable.'),
  ('disputed', 70, 'no', 'At least one open dispute has withdrawn funds.'),
  ('refunded', 80, 'soft', 'Everything captured was refunded.'),
  ('charged_back', 90, 'soft', 'At least one dispute was lost.'),
  ('returned', 90, 'soft', 'The bank returned the debit.'),
  ('failed', 100, 'hard', 'Definitively refused; never moved money.'),
  ('canceled', 100, 'hard', 'Voided before money moved.');

create table topics (
  topic text primary key,
  merchant_visible boolean not null
);
comment on table topics is 'Every kind of event there is, and whether merchants see it in their feed.';
insert into topics (topic, merchant_visible) values
  ('payment.initiated', true), ('payment.submission_started', false), ('payment.outcome_unknown', false),
  ('payment.resubmitted', false), ('payment.provider_submitted', true), ('payment.requires_action', true),
  ('payment.action_completed', false), ('payment.authorized', true), ('payment.confirmed', true),
  ('payment.settled', true), ('payment.failed', true), ('payment.canceled', true), ('payment.refunded', true),
  ('payment.disputed', true), ('payment.charged_back', true), ('payment.returned', true),
  ('payment.dispute_resolved', true), ('payment.refund_reversed', true), ('payment.return_reversed', true),
  ('payment.adopted', true), ('payment.observation_due', false),
  ('operation.requested', false), ('operation.create_repeated', false), ('webhook.received', false);

create table payment_transitions (
  from_state text not null references payment_states on delete restrict,
  to_state text not null references payment_states on delete restrict,
  event text not null references topics on delete restrict,
  class text not null,
  actors text[] not null,
  guard text not null,
  primary key (from_state, to_state),
  constraint payment_transitions_class_is_known check (class in ('command', 'observation')),
  constraint payment_transitions_goes_somewhere check (from_state <> to_state)
);
comment on table payment_transitions is
  'The 54 edges. A command edge allows exactly its actors; an observation edge allows worker, webhook and reconciler.';
insert into payment_transitions (from_state, to_state, event, class, actors, guard) values
  ('initiated', 'submitting', 'payment.submission_started', 'command', '{worker}', 'operation inserted in the same transaction'),
  ('initiated', 'canceled', 'payment.canceled', 'command', '{api,operator}', 'still initiated: no provider call ever'),
  ('initiated', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'a local rule refused it'),
  ('submitting', 'submitted', 'payment.provider_submitted', 'observation', '{worker,webhook,reconciler}', 'provider_ref known'),
  ('submitting', 'outcome_unknown', 'payment.outcome_unknown', 'observation', '{worker,webhook,reconciler}', 'ambiguous answer or expired lease'),
  ('submitting', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'refused at create, nothing was confirmed'),
  ('submitting', 'canceled', 'payment.canceled', 'command', '{api,worker,operator}', 'provably unsent'),
  ('outcome_unknown', 'submitting', 'payment.resubmitted', 'observation', '{worker,webhook,reconciler}', 'proof that the last attempt had no effect, or the same key'),
  ('outcome_unknown', 'submitted', 'payment.provider_submitted', 'observation', '{worker,webhook,reconciler}', 'object found'),
  ('outcome_unknown', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'found refused'),
  ('outcome_unknown', 'canceled', 'payment.canceled', 'observation', '{worker,webhook,reconciler}', 'canceled at the provider, nothing captured'),
  ('submitted', 'requires_action', 'payment.requires_action', 'observation', '{worker,webhook,reconciler}', 'next action stored'),
  ('submitted', 'authorized', 'payment.authorized', 'observation', '{worker,webhook,reconciler}', 'amount_authorized and capture_before set'),
  ('submitted', 'confirmed', 'payment.confirmed', 'observation', '{worker,webhook,reconciler}', 'amount_captured set'),
  ('submitted', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'declined'),
  ('submitted', 'canceled', 'payment.canceled', 'observation', '{worker,webhook,reconciler}', 'canceled at the provider'),
  ('submitted', 'returned', 'payment.returned', 'observation', '{worker,webhook,reconciler}', 'returned before confirmation'),
  ('requires_action', 'submitted', 'payment.action_completed', 'observation', '{worker,webhook,reconciler}', 'the provider is processing'),
  ('requires_action', 'authorized', 'payment.authorized', 'observation', '{worker,webhook,reconciler}', 'amount_authorized and capture_before set'),
  ('requires_action', 'confirmed', 'payment.confirmed', 'observation', '{worker,webhook,reconciler}', 'amount_captured set'),
  ('requires_action', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'the payer failed or declined'),
  ('requires_action', 'canceled', 'payment.canceled', 'observation', '{worker,webhook,reconciler}', 'a cancel succeeded at the provider'),
  ('authorized', 'confirmed', 'payment.confirmed', 'observation', '{worker,webhook,reconciler}', 'captured at most what was authorized'),
  ('authorized', 'canceled', 'payment.canceled', 'observation', '{worker,webhook,reconciler}', 'voided or expired'),
  ('authorized', 'failed', 'payment.failed', 'observation', '{worker,webhook,reconciler}', 'capture permanently refused'),
  ('confirmed', 'settled', 'payment.settled', 'observation', '{worker,webhook,reconciler}', 'funds available'),
  ('confirmed', 'refunded', 'payment.refunded', 'observation', '{worker,webhook,reconciler}', 'refunded = captured'),
  ('settled', 'refunded', 'payment.refunded', 'observation', '{worker,webhook,reconciler}', 'refunded = captured'),
  ('confirmed', 'disputed', 'payment.disputed', 'observation', '{worker,webhook,reconciler}', 'an open dispute withdrew funds'),
  ('settled', 'disputed', 'payment.disputed', 'observation', '{worker,webhook,reconciler}', 'an open dispute withdrew funds'),
  ('refunded', 'disputed', 'payment.disputed', 'observation', '{worker,webhook,reconciler}', 'an open dispute withdrew funds'),
  ('confirmed', 'charged_back', 'payment.charged_back', 'observation', '{worker,webhook,reconciler}', 'a dispute was lost'),
  ('settled', 'charged_back', 'payment.charged_back', 'observation', '{worker,webhook,reconciler}', 'a dispute was lost'),
  ('disputed', 'charged_back', 'payment.charged_back', 'observation', '{worker,webhook,reconciler}', 'a dispute was lost'),
  ('refunded', 'charged_back', 'payment.charged_back', 'observation', '{worker,webhook,reconciler}', 'a dispute was lost'),
  ('confirmed', 'returned', 'payment.returned', 'observation', '{worker,webhook,reconciler}', 'the bank returned it'),
  ('settled', 'returned', 'payment.returned', 'observation', '{worker,webhook,reconciler}', 'the bank returned it'),
  ('disputed', 'returned', 'payment.returned', 'observation', '{worker,webhook,reconciler}', 'the bank returned it'),
  ('refunded', 'returned', 'payment.returned', 'observation', '{worker,webhook,reconciler}', 'the bank returned it'),
  ('disputed', 'confirmed', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'all disputes won or closed'),
  ('disputed', 'settled', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'all disputes won or closed'),
  ('disputed', 'refunded', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'all disputes won or closed'),
  ('refunded', 'confirmed', 'payment.refund_reversed', 'observation', '{worker,webhook,reconciler}', 'a refund failed after success'),
  ('refunded', 'settled', 'payment.refund_reversed', 'observation', '{worker,webhook,reconciler}', 'a refund failed after success'),
  ('charged_back', 'disputed', 'payment.disputed', 'observation', '{worker,webhook,reconciler}', 'the dispute was reopened'),
  ('charged_back', 'confirmed', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'late win'),
  ('charged_back', 'settled', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'late win'),
  ('charged_back', 'refunded', 'payment.dispute_resolved', 'observation', '{worker,webhook,reconciler}', 'late win'),
  ('returned', 'confirmed', 'payment.return_reversed', 'observation', '{worker,webhook,reconciler}', 'the return was reversed'),
  ('returned', 'settled', 'payment.return_reversed', 'observation', '{worker,webhook,reconciler}', 'the return was reversed'),
  ('returned', 'refunded', 'payment.return_reversed', 'observation', '{worker,webhook,reconciler}', 'the return was reversed'),
  ('returned', 'disputed', 'payment.disputed', 'observation', '{worker,webhook,reconciler}', 'the return was reversed and a dispute is open'),
  ('failed', 'confirmed', 'payment.adopted', 'command', '{operator}', 'provider evidence and a second approver'),
  ('canceled', 'confirmed', 'payment.adopted', 'command', '{operator}', 'provider evidence and a second approver');

create table payments (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  state text not null default 'initiated' references payment_states on delete restrict,
  version bigint not null default 1,
  -- money, in minor units of currency
  currency text not null,
  amount bigint not null,
  amount_authorized bigint,
  amount_captured bigint not null default 0,
  amount_refund_pending bigint not null default 0,
  amount_refunded bigint not null default 0,
  amount_disputed bigint not null default 0,
  amount_lost bigint not null default 0,
  fee_schedule text,
  fee bigint,
  -- when
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  submitted_at timestamptz,
  confirmed_at timestamptz,
  settled_at timestamptz,
  capture_before timestamptz,
  action_required_at timestamptz,
  action_expires_at timestamptz,
  observe_at timestamptz,
  money_after_final_at timestamptz,
  return_window_ends_on date,
  -- who moves the money, and how
  provider text not null,
  provider_account text not null,
  provider_ref text,
  latest_charge_ref text,
  provider_rank smallint not null default 0,
  observed_version bigint not null default 0,
  method text not null,
  method_token text not null,
  capture_method text not null default 'automatic',
  return_url text,
  sec_code text,
  livemode boolean not null default false,
  -- what the payer or the provider said
  next_action_type text,
  next_action_url text,
  failure_code text,
  failure_message text,
  failure_retryable boolean,
  cancel_reason text,
  -- what the merchant said
  reference text,
  description text,
  statement_descriptor text,
  retry_of uuid,
  metadata jsonb not null default '{}',
  primary key (merchant_id, id),
  foreign key (provider, currency) references provider_currencies (provider, currency) on delete restrict,
  constraint payments_retry_of_is_the_merchants_own foreign key (merchant_id, retry_of) references payments (merchant_id, id) on delete restrict,
  constraint payments_amount_is_positive check (amount > 0 and amount <= 9007199254740991),
  constraint payments_captures_at_most_the_amount check (amount_captured between 0 and amount),
  constraint payments_authorizes_something check (amount_authorized > 0),
  constraint payments_refunds_at_most_the_captured check (amount_refunded between 0 and amount_captured),
  constraint payments_sums_are_not_negative check (amount_refund_pending >= 0 and amount_disputed >= 0 and amount_lost >= 0),
  constraint payments_method_is_known check (method in ('card', 'us_bank_account', 'ach')),
  constraint payments_capture_method_is_known check (capture_method in ('automatic', 'manual')),
  constraint payments_submitted_at_follows_the_state check (
    case when state in ('initiated', 'submitting', 'outcome_unknown') then submitted_at is null
         when state in ('failed', 'canceled') then true
         else submitted_at is not null end),
  constraint payments_confirmed_at_follows_the_state check (
    case when state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back') then confirmed_at is not null
         when state = 'returned' then true
         else confirmed_at is null end),
  constraint payments_settled_only_when_confirmed check (settled_at is null or confirmed_at is not null),
  constraint payments_settled_state_has_settled_at check (state <> 'settled' or settled_at is not null),
  constraint payments_confirmed_has_captured check (confirmed_at is null or amount_captured > 0),
  constraint payments_provider_ref_precedes_submitted check (submitted_at is null or provider_ref is not null),
  constraint payments_failure_code_iff_failed check ((state = 'failed') = (failure_code is not null)),
  constraint payments_cancel_reason_iff_canceled check ((state = 'canceled') = (cancel_reason is not null)),
  constraint payments_cancel_reason_is_known check (cancel_reason in (
    'requested', 'authorization_expired', 'action_expired', 'abandoned', 'duplicate', 'fraudulent', 'operator')),
  constraint payments_next_action_iff_required check ((state = 'requires_action') = (next_action_type is not null)),
  constraint payments_texts_are_bounded check (
    length(reference) <= 200 and length(description) <= 1000 and length(statement_descriptor) <= 22
    and length(return_url) <= 2000 and length(method_token) <= 255)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
comment on table payments is 'One row per payment: one state, the facts that explain it, and the version every audit entry names.';
comment on column payments.observed_version is 'Rises with every applied snapshot; a fetch that started before the last one is repeated.';
comment on column payments.provider_rank is 'The highest rank of a provider snapshot applied so far; lower ones are stale.';
comment on column payments.observe_at is 'When the clock sweep looks at the provider again, whatever else happens.';
comment on column payments.money_after_final_at is 'Set once when captured or capturable money is seen on a failed or canceled payment.';

create unique index payments_provider_ref_is_global on payments (provider, provider_account, provider_ref) where provider_ref is not null;
create index payments_by_merchant_newest on payments (merchant_id, created_at desc, id desc);
create index payments_by_reference on payments (merchant_id, reference) where reference is not null;
create index payments_by_charge on payments (latest_charge_ref) where latest_charge_ref is not null;
create index payments_to_observe on payments (observe_at) where observe_at is not null;
create index payments_action_expires on payments (action_expires_at) where state = 'requires_action';
create index payments_not_final on payments (state, updated_at) where state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized');
