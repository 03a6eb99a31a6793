-- Every payment as it stands: one row each, amounts in minor units.
drop view if exists report_v1.payment_register;
create view report_v1.payment_register with (security_barrier = true) as
select p.id as payment_id, p.merchant_id, m.name as merchant, p.created_at, p.method, p.currency,
  p.amount, p.amount_captured as captured, p.amount_refunded as refunded, p.amount_disputed as disputed, p.amount_lost as lost,
  fees.total as provider_fees, p.state, p.version, p.reference, p.provider, p.provider_account, p.provider_ref,
  p.submitted_at, p.confirmed_at, p.settled_at, p.failure_code, p.cancel_reason, p.livemode,
  exists (select from deliveries d
          where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.status = 'dead' and d.resolution is null) as has_dead_letter
from payments p
join merchants m on m.id = p.merchant_id
left join lateral (
  select sum(t.fee)::bigint as total from provider_transactions t where t.merchant_id = p.merchant_id and t.payment_id = p.id
) fees on true;

comment on view report_v1.payment_register is 'One row per payment as it stands now. Times are UTC, amounts minor units of currency.';
comment on column report_v1.payment_register.payment_id is 'The payment; the API shows it as pay_ and these 32 hex digits.';
comment on column report_v1.payment_register.merchant_id is 'Whose payment it is.';
comment on column report_v1.payment_register.merchant is 'The merchant''s name.';
comment on column report_v1.payment_register.created_at is 'When the API accepted it.';
comment on column report_v1.payment_register.method is 'card, us_bank_account or ach.';
comment on column report_v1.payment_register.currency is 'ISO 4217, lower case.';
comment on column report_v1.payment_register.amount is 'What was asked for.';
comment on column report_v1.payment_register.captured is 'What was taken.';
comment on column report_v1.payment_register.refunded is 'What was given back.';
comment on column report_v1.payment_register.disputed is 'What open disputes have withdrawn.';
comment on column report_v1.payment_register.lost is 'What lost disputes or returns took for good.';
comment on column report_v1.payment_register.provider_fees is 'Sum of the provider''s fees on its money lines; null before the first line.';
comment on column report_v1.payment_register.state is 'One of the 14 states.';
comment on column report_v1.payment_register.version is 'How many changes the row has had; each is one audit entry.';
comment on column report_v1.payment_register.reference is 'The merchant''s own reference.';
comment on column report_v1.payment_register.provider is 'Who moves the money.';
comment on column report_v1.payment_register.provider_account is 'Through which account.';
comment on column report_v1.payment_register.provider_ref is 'The provider''s id of the payment.';
comment on column report_v1.payment_register.submitted_at is 'When the provider definitely had it.';
comment on column report_v1.payment_register.confirmed_at is 'When the provider said it succeeded.';
comment on column report_v1.payment_register.settled_at is 'When the money became available.';
comment on column report_v1.payment_register.failure_code is 'Why it failed, while failed.';
comment on column report_v1.payment_register.cancel_reason is 'Why it was canceled, while canceled.';
comment on column report_v1.payment_register.livemode is 'Real money.';
comment on column report_v1.payment_register.has_dead_letter is 'Whether a delivery about it is dead and nobody has handled it.';
