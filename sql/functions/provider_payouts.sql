-- Payouts of a provider against the lines that they are made of.

-- An earlier release's form, which knew nothing of a payout that nobody itemises.
drop function if exists reconcile_payout(uuid, text, text, text, text);

create or replace function sum_of_payout_lines(o payouts) returns bigint
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select coalesce(sum(x.net), 0)::bigint from provider_transactions x
  where x.payout_ref = o.ref and x.provider = o.provider and x.account = o.account and x.kind <> 'payout' and x.currency = o.currency
$$;
comment on function sum_of_payout_lines is 'What the lines of a payout come to; the payout''s own line is not one of them.';

create or replace function payout_disagreements(o payouts, p_scale float8) returns jsonb
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object('merchant_id', o.merchant_id,
           'subject', 'payout/' || o.provider || '/' || o.account || '/' || o.ref,
           'type', t.type, 'provider', o.provider, 'account', o.account, 'ref', '', 'currency', o.currency, 'expected', o.amount,
           'actual', case when o.lines_read_at is not null then lines.sum end, 'evidence_at', found.at)), '[]')
  from discrepancy_types t
  cross join lateral (select sum_of_payout_lines(o) as sum) lines
  cross join lateral (select coalesce(o.lines_read_at, o.arrives_at + t.grace * p_scale) as at) found
  where t.type = 'payout_mismatch' and case
    when o.lines_read_at is not null then lines.sum <> o.amount
    -- what was called off is made of nothing, and what a person drew is never itemised
    else o.automatic and o.status in ('pending', 'in_transit', 'paid') and found.at <= clock_timestamp() end
$$;
comment on function payout_disagreements is
  'A payout that was itemised is the sum of its lines. One that nobody has itemised so long after it should have arrived cannot be'
  ' proved: its actual amount is not known.';

create or replace function reconcile_payout(
  p_merchant_id uuid, p_provider text, p_account text, p_ref text, p_scale float8, p_detected_by text
) returns table (opened bigint, closed bigint, expected bigint, actual bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  o payouts;
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'books are compared by the reconciler' using errcode = 'PB002';
  end if;
  select * into strict o from payouts
  where merchant_id = p_merchant_id and provider = p_provider and account = p_account and ref = p_ref for update;
  expected := o.amount;
  actual := sum_of_payout_lines(o);
  select r.opened, r.closed into opened, closed
  from record_discrepancies(array[p_merchant_id], array['payout/' || p_provider || '/' || p_account || '/' || p_ref],
    array['payout_mismatch'], payout_disagreements(o, p_scale), p_detected_by) r;
  return next;
end $$;
comment on function reconcile_payout is 'Opens and closes what payout_disagreements finds of one payout.';
