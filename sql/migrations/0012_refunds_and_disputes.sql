-- What happens to a payment after it was confirmed: refunds, disputes, and the money lines that belong to them.

insert into topics (topic, merchant_visible) values
  ('refund.requested', true), ('refund.submission_started', false), ('refund.outcome_unknown', false),
  ('refund.resubmitted', false), ('refund.pending', true), ('refund.booked', false), ('refund.succeeded', true),
  ('refund.failed', true), ('refund.canceled', true),
  ('dispute.inquiry_opened', true), ('dispute.opened', true), ('dispute.reopened', true), ('dispute.won', true),
  ('dispute.lost', true), ('dispute.closed', true), ('dispute.funds_withdrawn', true),
  ('dispute.funds_reinstated', true), ('dispute.status_unknown', false);

create table refund_transitions (
  from_state text not null,
  to_state text not null,
  event text not null references topics on delete restrict,
  guard text not null,
  primary key (from_state, to_state),
  constraint refund_transitions_goes_somewhere check (from_state <> to_state)
);
comment on table refund_transitions is
  'The edges of a refund; worker, webhook and reconciler take them. A refund is told as pending before it is told how it ended.';
insert into refund_transitions (from_state, to_state, event, guard) values
  ('requested', 'submitting', 'refund.submission_started', 'its operation is leased'),
  ('requested', 'pending', 'refund.pending', 'the provider has it: found there, not sent by us'),
  ('requested', 'failed', 'refund.failed', 'no longer possible, and nothing was sent'),
  ('submitting', 'outcome_unknown', 'refund.outcome_unknown', 'ambiguous answer or expired lease'),
  ('submitting', 'pending', 'refund.pending', 'the provider has it'),
  ('submitting', 'failed', 'refund.failed', 'refused'),
  ('outcome_unknown', 'submitting', 'refund.resubmitted', 'proof that the last attempt had no effect, or the same key'),
  ('outcome_unknown', 'pending', 'refund.pending', 'found'),
  ('outcome_unknown', 'failed', 'refund.failed', 'not found, and no longer possible'),
  ('pending', 'succeeded', 'refund.succeeded', 'the provider says so'),
  ('pending', 'failed', 'refund.failed', 'the provider says so'),
  ('pending', 'canceled', 'refund.canceled', 'the provider says so'),
  ('succeeded', 'failed', 'refund.failed', 'the money came back to us');

create table refunds (
  merchant_id uuid not null,
  id uuid not null default uuidv7(),
  payment_id uuid not null,
  state text not null default 'requested',
  version bigint not null default 1,
  -- money, in minor units of currency, which is the payment's
  currency text not null,
  amount bigint not null,
  -- when
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  succeeded_at timestamptz,
  ended_at timestamptz,
  -- who asked for it, and why
  origin text not null,
  operation_id uuid,
  reason text,
  -- what the provider says
  provider text not null,
  provider_account text not null,
  provider_ref text,
  provider_status text,
  failure_reason text,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  foreign key (merchant_id, operation_id) references operations (merchant_id, id) on delete restrict,
  constraint refunds_state_is_known check (state in (
    'requested', 'submitting', 'outcome_unknown', 'pending', 'succeeded', 'failed', 'canceled')),
  constraint refunds_amount_is_positive check (amount > 0 and amount <= 9007199254740991),
  constraint refunds_origin_is_known check (origin in ('api', 'provider')),
  constraint refunds_operation_iff_asked_of_us check ((origin = 'api') = (operation_id is not null)),
  constraint refunds_provider_has_it_once_pending check (
    case when state in ('pending', 'succeeded', 'canceled') then provider_ref is not null
         when state in ('requested', 'submitting', 'outcome_unknown') then provider_ref is null
         else true end),
  constraint refunds_succeeded_has_succeeded_at check (state <> 'succeeded' or succeeded_at is not null),
  constraint refunds_ended_at_iff_failed_or_canceled check ((state in ('failed', 'canceled')) = (ended_at is not null)),
  constraint refunds_failure_reason_iff_failed check ((state = 'failed') = (failure_reason is not null)),
  constraint refunds_texts_are_bounded check (length(reason) <= 100 and length(provider_status) <= 100 and length(failure_reason) <= 200)
) with (fillfactor = 70);
comment on table refunds is
  'One row per refund, asked of us or made at the provider: its state, and what it takes from its payment while it is not over.';
comment on column refunds.origin is 'api: asked of us, carried out by an operation. provider: made there, found by us.';
comment on column refunds.provider_status is 'The provider''s own word for it, as last seen.';
create unique index refunds_provider_ref_is_global on refunds (provider, provider_account, provider_ref) where provider_ref is not null;
create unique index refunds_by_operation on refunds (merchant_id, operation_id) where operation_id is not null;
create index refunds_by_payment on refunds (merchant_id, payment_id);
create index refunds_by_merchant_newest on refunds (merchant_id, created_at desc, id desc);
create index refunds_not_over on refunds (state, updated_at) where state in ('requested', 'submitting', 'outcome_unknown', 'pending');

create table dispute_transitions (
  from_state text not null,
  to_state text not null,
  event text not null references topics on delete restrict,
  guard text not null,
  primary key (from_state, to_state),
  constraint dispute_transitions_goes_somewhere check (from_state <> to_state)
);
comment on table dispute_transitions is
  'The edges of a dispute; worker, webhook and reconciler take them. It begins as inquiry or open. No edge moves money.';
insert into dispute_transitions (from_state, to_state, event, guard) values
  ('inquiry', 'open', 'dispute.opened', 'it became a chargeback'),
  ('inquiry', 'closed', 'dispute.closed', 'it ended without one'),
  ('open', 'won', 'dispute.won', 'decided for the merchant'),
  ('open', 'lost', 'dispute.lost', 'decided for the payer'),
  ('open', 'closed', 'dispute.closed', 'prevented or withdrawn'),
  ('lost', 'won', 'dispute.won', 'a late win'),
  ('won', 'open', 'dispute.reopened', 'disputed again, or appealed'),
  ('lost', 'open', 'dispute.reopened', 'appealed'),
  ('closed', 'open', 'dispute.reopened', 'it became a chargeback after all');

create table disputes (
  merchant_id uuid not null,
  id uuid not null default uuidv7(),
  payment_id uuid not null,
  state text not null,
  version bigint not null default 1,
  -- money, in minor units of currency, which is the payment's
  currency text not null,
  amount bigint not null,
  amount_withdrawn bigint not null default 0,
  -- when
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  disputed_at timestamptz not null,
  evidence_due_at timestamptz,
  -- what the provider says
  provider text not null,
  provider_account text not null,
  provider_ref text not null,
  provider_status text not null,
  reason text,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  constraint disputes_state_is_known check (state in ('inquiry', 'open', 'won', 'lost', 'closed')),
  constraint disputes_amounts_are_not_negative check (amount >= 0 and amount_withdrawn >= 0),
  constraint disputes_texts_are_bounded check (length(provider_status) <= 100 and length(reason) <= 100)
) with (fillfactor = 70);
comment on table disputes is
  'One row per dispute at the provider: where it stands, and how much of the payment''s money it holds now.';
comment on column disputes.amount_withdrawn is
  'What its balance transactions have withdrawn and not reinstated; never below zero. The status moves no money.';
comment on column disputes.provider_status is 'The provider''s own word for it, as last seen; one that nobody knows leaves the state as it is.';
comment on column disputes.disputed_at is 'When the provider says it began.';
create unique index disputes_provider_ref_is_global on disputes (provider, provider_account, provider_ref);
create index disputes_by_payment on disputes (merchant_id, payment_id);
create index disputes_by_merchant_newest on disputes (merchant_id, created_at desc, id desc);

-- Not valid: every row that was there before has null in the new columns, so there is nothing to read through.
alter table provider_transactions
  add column refund_id uuid,
  add column dispute_id uuid,
  add constraint provider_transactions_refund_exists foreign key (merchant_id, refund_id)
    references refunds (merchant_id, id) on delete restrict not valid,
  add constraint provider_transactions_dispute_exists foreign key (merchant_id, dispute_id)
    references disputes (merchant_id, id) on delete restrict not valid,
  add constraint provider_transactions_is_about_one_thing check (num_nonnulls(refund_id, dispute_id) <= 1) not valid,
  add constraint provider_transactions_of_a_refund_or_dispute_has_a_payment check (
    num_nonnulls(refund_id, dispute_id) = 0 or payment_id is not null) not valid;

alter table events
  add column refund_id uuid,
  add column dispute_id uuid,
  add constraint events_refund_exists foreign key (merchant_id, refund_id) references refunds (merchant_id, id) on delete restrict not valid,
  add constraint events_dispute_exists foreign key (merchant_id, dispute_id) references disputes (merchant_id, id) on delete restrict not valid;

-- What the provider has refunded is true, also when it is more than was captured: it is stored, and a person is told. A
-- request is still held to what is left, by payments_200_check.
alter table payments
  -- squawk-ignore ban-drop-constraint
  drop constraint payments_refunds_at_most_the_captured,
  add constraint payments_refunded_is_not_negative check (amount_refunded >= 0) not valid;
