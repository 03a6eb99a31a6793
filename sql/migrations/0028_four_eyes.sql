-- What takes two people happens by an approved proposal, once, and within its day; and a refund may be too large for one.

alter table proposals
  add column carried_out_at timestamptz,
  -- squawk-ignore ban-drop-constraint
  drop constraint proposals_act_is_known,
  add constraint proposals_act_is_known check (act in ('adopt', 'discard', 'refund')) not valid,
  add constraint proposals_carried_out_once_approved check (
    carried_out_at is null or (status = 'approved' and carried_out_at between decided_at and expires_at)) not valid;
comment on column proposals.carried_out_at is 'When what was approved was done: once, and no later than the proposal lasts.';

create table refund_limits (
  currency text primary key references currencies (code) on delete restrict,
  amount bigint not null,
  constraint refund_limits_amount_is_not_negative check (amount >= 0)
);
comment on table refund_limits is
  'Up to how much of one payment, in minor units, one operator gives back alone; beyond it, and in a currency without a row, it '
  'takes two. The owner of the schema sets it: who is held by a limit does not move it.';
insert into refund_limits (currency, amount) select code, 1000 * (10 ^ exponent)::bigint from currencies;
