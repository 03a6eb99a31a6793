-- What an operator does with a merchant's money: pay it out, hold it back, let it go. Only what is there is spent.

create or replace function merchant_payouts_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.merchant_payouts'::regclass then
    raise exception 'merchant_payouts_200_check guards postbox.merchant_payouts and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'DELETE' then
    raise exception 'a merchant payout is never deleted' using errcode = 'PB004';
  end if;
  if tg_op = 'INSERT' then
    if new.status <> 'requested' or new.requested_by <> current_setting('postbox.actor_id', true) then
      raise exception 'a merchant payout begins as requested, in one''s own name' using errcode = 'PB002';
    end if;
    return new;
  end if;
  if (new.status, old.status) not in (('paid', 'requested'), ('returned', 'requested'), ('returned', 'paid')) then
    raise exception 'a merchant payout does not go from % to %', old.status, new.status using errcode = 'PB001';
  end if;
  if (new.merchant_id, new.id, new.currency, new.amount, new.requested_at, new.requested_by, new.reason)
     is distinct from (old.merchant_id, old.id, old.currency, old.amount, old.requested_at, old.requested_by, old.reason)
     or (old.paid_at is not null and (new.paid_at, new.bank_account, new.bank_ref) is distinct from (old.paid_at, old.bank_account, old.bank_ref)) then
    raise exception 'what a merchant payout is never changes' using errcode = 'PB004';
  end if;
  return new;
end $$;
comment on function merchant_payouts_200_check is
  'A merchant payout is requested, then paid or returned, and a paid one may still come back; what it is never changes.';

create or replace function merchant_payouts_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.merchant_payouts'::regclass then
    raise exception 'merchant_payouts_500_audit records postbox.merchant_payouts and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id, 'merchant_payout.' || new.status, 'merchant_payout', new.id::text, null, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end);
  return null;
end $$;
comment on function merchant_payouts_500_audit is 'One audit entry per merchant payout that is requested, paid or returned.';

-- Executable by nobody. The condition is looked at under the row's lock, which the transaction keeps: what comes at the same
-- time waits here, and then sees what is left.
create or replace function assert_spendable(p_merchant_id uuid, p_code text, p_currency text, p_amount bigint) returns void
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
begin
  -- all that this merchant's entry may move, in the one order of balances
  perform from ledger_balances where merchant_id = p_merchant_id and currency = p_currency order by account_id for no key update;
  update ledger_balances b set updated_at = clock_timestamp()
  from ledger_accounts a
  where a.merchant_id = p_merchant_id and a.code = p_code and b.merchant_id = a.merchant_id and b.account_id = a.id
    and b.currency = p_currency and b.amount + p_amount <= 0;
  if not found then
    raise exception 'the merchant has not so much' using errcode = 'check_violation', constraint = 'ledger_balances_spend_what_is_there';
  end if;
end $$;
comment on function assert_spendable is
  'Refuses to take more from a merchant''s account than it holds; its balances stay locked until the transaction ends.';

-- Executable by nobody: who does something with a merchant's money, and why, is kept with every entry of it.
create or replace function assert_operator_says_why(p_reason text) returns text
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
begin
  if assert_actor_allowed() <> 'operator' or coalesce(btrim(p_reason), '') = '' then
    raise exception 'a merchant''s money is moved by an operator who says why' using errcode = 'PB002';
  end if;
  perform set_config('postbox.reason', p_reason, true);
  return current_setting('postbox.actor_id');
end $$;
comment on function assert_operator_says_why is 'Who acts, if that is an operator with a reason, which the audit is given; PB002 otherwise.';

create or replace function request_merchant_payout(p_merchant_id uuid, p_currency text, p_amount bigint, p_reason text)
  returns merchant_payouts
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  operator constant text := assert_operator_says_why(p_reason);
  o merchant_payouts;
begin
  if exists (
    select from discrepancies d
    where d.type = 'ledger_imbalance' and d.closed_at is null
      and d.merchant_id in (p_merchant_id, '00000000-0000-0000-0000-000000000000')
  ) then
    raise exception 'nothing is paid out of books that are out of balance'
      using errcode = 'check_violation', constraint = 'merchant_payouts_wait_for_balanced_books';
  end if;
  insert into merchant_payouts (merchant_id, currency, amount, requested_by, reason)
  values (p_merchant_id, p_currency, p_amount, operator, p_reason) returning * into o;
  perform assert_spendable(p_merchant_id, 'merchant:available', p_currency, p_amount);
  perform ledger_post(p_merchant_id, 'merchant_payout_requested', 'merchant_payout', o.id::text, null, jsonb_build_array(
    jsonb_build_object('account', 'merchant:available', 'currency', p_currency, 'amount', p_amount),
    jsonb_build_object('account', 'merchant_payouts_in_flight', 'currency', p_currency, 'amount', -p_amount)));
  perform ledger_close();
  return o;
end $$;
comment on function request_merchant_payout is
  'J9: money of a merchant is on its way to its bank, of what is available and no more; never while its books are out of balance.';

create or replace function end_merchant_payout(
  p_merchant_id uuid, p_id uuid, p_status text, p_bank_account text, p_bank_ref text, p_reason text
) returns merchant_payouts
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  before merchant_payouts;
  o merchant_payouts;
  transit text;
begin
  perform assert_operator_says_why(p_reason);
  select * into before from merchant_payouts where merchant_id = p_merchant_id and id = p_id for update;
  update merchant_payouts set
    status = p_status,
    paid_at = case p_status when 'paid' then clock_timestamp() else paid_at end,
    bank_account = case p_status when 'paid' then p_bank_account else bank_account end,
    bank_ref = case p_status when 'paid' then p_bank_ref else bank_ref end,
    returned_at = case p_status when 'returned' then clock_timestamp() end
  where merchant_id = p_merchant_id and id = p_id returning * into strict o;
  transit := case before.status when 'paid' then 'bank:' || before.bank_account else 'merchant_payouts_in_flight' end;
  perform ledger_post(p_merchant_id, 'merchant_payout_' || p_status, 'merchant_payout', o.id::text, null, jsonb_build_array(
    jsonb_build_object('account', transit, 'currency', o.currency, 'amount', o.amount),
    jsonb_build_object('account', case p_status when 'paid' then 'bank:' || o.bank_account else 'merchant:available' end,
      'currency', o.currency, 'amount', -o.amount)));
  perform ledger_close();
  return o;
end $$;
comment on function end_merchant_payout is
  'The bank''s word on a merchant payout: paid, by this line of this account, or returned, before or after that.';

create or replace function move_reserve(p_merchant_id uuid, p_kind text, p_currency text, p_amount bigint, p_reason text) returns uuid
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  source constant text := case p_kind when 'reserve_held' then 'merchant:available' when 'reserve_released' then 'merchant:reserve' end;
  target constant text := case p_kind when 'reserve_held' then 'merchant:reserve' else 'merchant:available' end;
  entry uuid;
begin
  perform assert_operator_says_why(p_reason);
  if source is null or p_amount <= 0 then
    raise exception 'a reserve is held or released, and of something' using errcode = 'PB002';
  end if;
  perform assert_spendable(p_merchant_id, source, p_currency, p_amount);
  entry := ledger_post(p_merchant_id, p_kind, 'reserve', uuidv7()::text, null, jsonb_build_array(
    jsonb_build_object('account', source, 'currency', p_currency, 'amount', p_amount),
    jsonb_build_object('account', target, 'currency', p_currency, 'amount', -p_amount)));
  perform ledger_close();
  return entry;
end $$;
comment on function move_reserve is
  'J10: money of a merchant is held back (reserve_held) or available again (reserve_released), of what is there and no more.';

create or replace function write_off_debt(p_merchant_id uuid, p_currency text, p_amount bigint, p_reason text) returns uuid
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  entry uuid;
begin
  perform assert_operator_says_why(p_reason);
  perform carry_out('write_off', p_merchant_id, jsonb_build_object('currency', p_currency, 'amount', p_amount));
  perform from ledger_balances where merchant_id = p_merchant_id and currency = p_currency order by account_id for no key update;
  -- never more than is owed: a merchant is given nothing by it
  update ledger_balances b set updated_at = clock_timestamp()
  from ledger_accounts a
  where a.merchant_id = p_merchant_id and a.code = 'merchant:available' and b.merchant_id = a.merchant_id and b.account_id = a.id
    and b.currency = p_currency and p_amount > 0 and b.amount >= p_amount;
  if not found then
    raise exception 'the merchant does not owe so much'
      using errcode = 'check_violation', constraint = 'ledger_balances_are_not_written_off_beyond_the_debt';
  end if;
  entry := ledger_post(p_merchant_id, 'written_off', 'merchant_debt', uuidv7()::text, null, jsonb_build_array(
    jsonb_build_object('account', 'losses', 'currency', p_currency, 'amount', p_amount),
    jsonb_build_object('account', 'merchant:available', 'currency', p_currency, 'amount', -p_amount)));
  perform ledger_close();
  return entry;
end $$;
comment on function write_off_debt is
  'J11 of a merchant who owes us: so much of the debt is a loss. Uses up an approved proposal of exactly this.';
