-- The only ways into the books: post an entry, close the transaction's balances, reverse an entry.

create or replace function compute_fee(p_amount bigint, p_bps integer, p_fixed bigint) returns bigint
  language sql immutable parallel safe
  -- numeric, because the largest amount times 10000 is no bigint
  return div(p_amount::numeric * p_bps + 5000, 10000)::bigint + p_fixed;
comment on function compute_fee is
  'Our fee on an amount of at least 0, in minor units: basis points rounded half up, plus the fixed part.';

-- The chart of accounts; codes that nothing posts to yet have their place here.
create or replace function ledger_account_kind(p_code text) returns text
  language sql immutable parallel safe
as $$
  select case
    when p_code in ('merchant:pending', 'merchant:available', 'merchant:reserve') then 'liability'
    when p_code in ('refunds_in_flight', 'merchant_payouts_in_flight') or p_code ~ '^suspense:[a-z]+$' then 'liability'
    when p_code in ('fee_revenue', 'dispute_fee_income') then 'income'
    when p_code in ('provider_fees', 'losses') then 'expense'
    when p_code in ('odfi:cash', 'cash_in_transit', 'fx') or p_code ~ '^(clearing:[a-z]+|bank:[A-Za-z0-9_-]+)$' then 'asset'
    when p_code ~ '^[a-z]+:(pending|available|reserved)$' then 'asset'
  end
$$;
comment on function ledger_account_kind is 'asset, liability, income or expense; null for a code that is in no chart.';

create or replace function ledger_account_name(p_merchant_id uuid, p_code text) returns text
  language sql immutable parallel safe
  return regexp_replace(p_code, '^merchant:', 'merchant:' || p_merchant_id::text || ':');
comment on function ledger_account_name is 'The account as people write it: merchant:{id}:pending, clearing:stripe.';

-- Executable by nobody: ledger_post and ledger_reverse say who may write what.
create or replace function ledger_write(
  p_merchant_id uuid, p_kind text, p_source_type text, p_source_id text, p_payment_id uuid, p_reverses_entry_id uuid, p_lines jsonb
) returns uuid
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  entry uuid;
  unknown text;
begin
  if not exists (select from jsonb_to_recordset(p_lines) as l (amount bigint) where amount <> 0) then
    return null;
  end if;
  insert into ledger_entries (merchant_id, kind, source_type, source_id, payment_id, reverses_entry_id)
  values (p_merchant_id, p_kind, p_source_type, p_source_id, p_payment_id, p_reverses_entry_id)
  on conflict (merchant_id, kind, source_type, source_id) do nothing
  returning id into entry;
  if entry is null then
    return null;
  end if;

  -- in the order of their codes, so that two who open the same accounts wait for each other one way only
  insert into ledger_accounts (merchant_id, code, kind)
  select distinct w.owner, w.account, ledger_account_kind(w.account)
  from (select case when l.account like 'merchant:%' then p_merchant_id else platform end as owner, l.account
        from jsonb_to_recordset(p_lines) as l (account text, amount bigint) where l.amount <> 0) w
  where not exists (select from ledger_accounts a where a.merchant_id = w.owner and a.code = w.account)
  order by 1, 2
  on conflict (merchant_id, code) do nothing;

  with added as (
    insert into ledger_lines (merchant_id, entry_id, line, account_merchant_id, account_id, currency, amount, payment_id)
    select p_merchant_id, entry, row_number() over (order by l.place), a.merchant_id, a.id, l.currency, l.amount, p_payment_id
    from rows from (jsonb_to_recordset(p_lines) as (account text, currency text, amount bigint)) with ordinality
      as l (account, currency, amount, place)
    join ledger_accounts a
      on a.code = l.account and a.merchant_id = case when l.account like 'merchant:%' then p_merchant_id else platform end
    where l.amount <> 0
    returning account_merchant_id, account_id, currency, amount
  )
  insert into ledger_folds as f (merchant_id, account_id, currency, amount)
  select account_merchant_id, account_id, currency, sum(amount)
  from added
  where account_merchant_id <> platform
  group by account_merchant_id, account_id, currency
  on conflict (merchant_id, account_id, currency, recorded_xid) do update set amount = f.amount + excluded.amount;
  return entry;
end $$;
comment on function ledger_write is
  'One entry with its lines, those of amount zero left out; null when its source was posted before or nothing is left to post.';

create or replace function ledger_post(
  p_merchant_id uuid, p_kind text, p_source_type text, p_source_id text, p_payment_id uuid, p_lines jsonb
) returns uuid
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  perform assert_actor_allowed();
  if p_kind = 'reversal' then
    raise exception 'an entry is reversed by ledger_reverse, with a reason' using errcode = 'PB002';
  end if;
  return ledger_write(p_merchant_id, p_kind, p_source_type, p_source_id, p_payment_id, null, p_lines);
end $$;
comment on function ledger_post is
  'Posts one entry: lines are [{"account", "currency", "amount"}], merchant:* is p_merchant_id''s account. Idempotent: null on a'
  ' repeat of the same source. The caller holds the payment''s lock and ends its transaction with ledger_close().';

create or replace function ledger_close() returns bigint
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  folded bigint;
begin
  perform assert_actor_allowed();
  with mine as (
    delete from ledger_folds where recorded_xid = pg_current_xact_id() returning merchant_id, account_id, currency, amount
  )
  insert into ledger_balances (merchant_id, account_id, currency, amount)
  select merchant_id, account_id, currency, amount from mine
  order by account_id, currency
  on conflict (merchant_id, account_id, currency)
    do update set amount = ledger_balances.amount + excluded.amount, updated_at = clock_timestamp();
  get diagnostics folded = row_count;
  return folded;
end $$;
comment on function ledger_close is
  'Moves what this transaction posted into the merchants'' balances: once, at its end, summed, locked in the order of account ids.'
  ' Returns how many balances moved.';

create or replace function ledger_reverse(p_merchant_id uuid, p_entry_id uuid, p_reason text) returns uuid
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  e ledger_entries;
  opposite jsonb;
  entry uuid;
begin
  if assert_actor_allowed() <> 'operator' then
    raise exception 'an entry is reversed by an operator' using errcode = 'PB002';
  end if;
  if coalesce(btrim(p_reason), '') = '' then
    raise exception 'a reversal says why' using errcode = 'PB002';
  end if;
  select * into strict e from ledger_entries where merchant_id = p_merchant_id and id = p_entry_id;
  perform from payments where merchant_id = e.merchant_id and id = e.payment_id for no key update;
  select jsonb_agg(jsonb_build_object('account', a.code, 'currency', l.currency, 'amount', -l.amount) order by l.line) into opposite
  from ledger_lines l
  join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
  where l.merchant_id = e.merchant_id and l.entry_id = e.id;
  perform set_config('postbox.reason', p_reason, true);
  entry := ledger_write(e.merchant_id, 'reversal', 'ledger_entry', e.id::text, e.payment_id, e.id, opposite);
  perform ledger_close();
  return entry;
end $$;
comment on function ledger_reverse is
  'The opposite of an entry, by an operator and for a reason, balances moved; null when it was reversed before.';
