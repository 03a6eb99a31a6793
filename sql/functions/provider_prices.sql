-- What a provider has agreed to charge us, changed by an operator who says why; and the price lists' audit.

create or replace function prices_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  before_row jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) end;
  after_row jsonb := to_jsonb(new);
  entity text := case tg_table_name when 'provider_prices' then 'provider_price' else 'fee_schedule' end;
begin
  if tg_relid <> 'postbox.provider_prices'::regclass and tg_relid <> 'postbox.fee_schedules'::regclass
     and tg_relid <> 'postbox.fee_schedule_fixed'::regclass then
    raise exception 'prices_500_audit records postbox.provider_prices, fee_schedules, fee_schedule_fixed' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  perform audit_write(
    '00000000-0000-0000-0000-000000000000', entity || case tg_op when 'INSERT' then '.created' else '.changed' end, entity,
    case tg_table_name
      when 'provider_prices' then concat_ws('/', after_row ->> 'provider', after_row ->> 'account', after_row ->> 'method', after_row ->> 'currency')
      when 'fee_schedules' then after_row ->> 'id'
      else after_row ->> 'fee_schedule' end,
    null, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(after_row))
         else changed_columns(before_row, after_row) end);
  return null;
end $$;
comment on function prices_500_audit is 'One audit entry per price that is set: a provider''s to us, ours to merchants.';

create or replace function set_provider_price(
  p_provider text, p_account text, p_method text, p_currency text, p_bps integer, p_fixed bigint, p_reason text
) returns integer
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  again integer;
begin
  if assert_actor_allowed() <> 'operator' or coalesce(btrim(p_reason), '') = '' then
    raise exception 'a price is set by an operator who says why' using errcode = 'PB002';
  end if;
  perform set_config('postbox.reason', p_reason, true);
  insert into provider_prices as x (provider, account, method, currency, bps, fixed)
  values (p_provider, p_account, p_method, p_currency, p_bps, p_fixed)
  on conflict (provider, account, method, currency) do update set bps = excluded.bps, fixed = excluded.fixed
  where (x.bps, x.fixed) is distinct from (excluded.bps, excluded.fixed);
  -- what was too dear by the old price may be right by this one
  with flagged as materialized (
    select p.merchant_id, p.id from discrepancies d
    join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
    where d.closed_at is null and d.type = 'fee_mismatch'
      and (p.provider, p.provider_account, p.method, p.currency) = (p_provider, p_account, p_method, p_currency)
    order by p.merchant_id, p.id limit 10000 for no key update of p
  ),
  soon as (select reconcile_soon(merchant_id, id) from flagged)
  select count(*) into again from soon;
  return again;
end $$;
comment on function set_provider_price is
  'From now on this is what fees are compared with. Returns how many payments with another fee are compared anew at once.';
