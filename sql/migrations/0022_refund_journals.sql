-- What refunds and disputes do to the books, and what a dispute costs its merchant.

insert into ledger_entry_kinds (kind, meaning) values
  ('refund_requested', 'J3: merchant +refund, refunds in flight -refund'),
  ('refund_paid', 'J4: refunds in flight +refund, clearing -refund'),
  ('refund_returned', 'J5: merchant -refund against refunds in flight, or against clearing once it was paid'),
  ('dispute_withdrawn', 'J6: merchant +withdrawn +dispute fee, clearing -withdrawn, dispute fee income -fee'),
  ('dispute_reinstated', 'J7: the opposite, the dispute fee only if the price gives it back');

insert into subscriptions (topic, handler, lane) values
  ('refund.requested', 'post_refund', 'local'), ('refund.booked', 'post_refund', 'local'),
  ('refund.succeeded', 'post_refund', 'local'), ('refund.failed', 'post_refund', 'local'),
  ('refund.canceled', 'post_refund', 'local'),
  ('dispute.funds_withdrawn', 'post_dispute', 'local'), ('dispute.funds_reinstated', 'post_dispute', 'local');

-- The provider's dispute fee is passed on whole and not given back, unless a version of a price says otherwise.
alter table fee_schedules
  add column dispute_fee_bps integer not null default 10000,
  add column dispute_fee_returned boolean not null default false,
  add constraint fee_schedules_dispute_fee_bps_is_a_factor check (dispute_fee_bps between 0 and 100000) not valid;
comment on column fee_schedules.dispute_fee_bps is
  'What of the provider''s dispute fee the merchant pays, in basis points of it: 10000 all, 0 nothing, more a margin.';
comment on column fee_schedules.dispute_fee_returned is 'Whether the merchant gets it back when the money is reinstated.';
