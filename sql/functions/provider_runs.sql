-- What is asked of a provider as a whole: runs, what payouts tell, and its balance.

create or replace function reconciliation_runs_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.reconciliation_runs'::regclass then
    raise exception 'reconciliation_runs_700_event speaks for postbox.reconciliation_runs and nothing else' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  insert into events (merchant_id, topic, payload, correlation_id, causation_id)
  values (new.merchant_id,
    case new.kind when 'changes' then 'reconciliation.changes_due' when 'balance' then 'reconciliation.balance_due'
                  else 'reconciliation.payout_due' end,
    jsonb_build_object('run_id', new.id, 'kind', new.kind, 'provider', new.provider, 'account', new.account, 'subject', new.subject)
      || new.position,
    new.kind || '/' || new.subject, nullif(current_setting('postbox.causation_id', true), ''));
  return null;
end $$;
comment on function reconciliation_runs_700_event is 'A run that asks the provider wakes its handler, in the transaction that asked for it.';

create or replace function payouts_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.payouts'::regclass then
    raise exception 'payouts_500_audit records postbox.payouts and nothing else' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  perform audit_write(
    new.merchant_id,
    'payout.' || case when tg_op = 'INSERT' then 'found' when new.status <> old.status then new.status else 'observed' end,
    'payout', new.provider || '/' || new.account || '/' || new.ref, null, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end);
  return null;
end $$;
comment on function payouts_500_audit is 'One audit entry per payout that is found or changes.';

create or replace function payouts_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.payouts'::regclass then
    raise exception 'payouts_700_event speaks for postbox.payouts and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'UPDATE' and new.status = old.status then
    return null;
  end if;
  insert into events (merchant_id, topic, payload, correlation_id, causation_id)
  values (new.merchant_id,
    case new.status when 'pending' then 'payout.pending' when 'in_transit' then 'payout.in_transit' when 'paid' then 'payout.paid'
                    when 'failed' then 'payout.failed' else 'payout.canceled' end,
    jsonb_build_object('provider', new.provider, 'account', new.account, 'ref', new.ref, 'currency', new.currency, 'amount', new.amount,
      'status', new.status, 'was_paid', new.paid_at is not null, 'destination', new.destination),
    new.ref, nullif(current_setting('postbox.causation_id', true), ''));
  return null;
end $$;
comment on function payouts_700_event is 'A payout tells every status it comes to; whether it had counted as paid is part of what it tells.';

create or replace function reconcile_balance(
  p_merchant_id uuid, p_provider text, p_account text, p_balances jsonb, p_final boolean, p_detected_by text
) returns table (currency text, expected bigint, actual bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  about constant text := 'account/' || p_provider || '/' || p_account;
  compared jsonb;
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'books are compared by the reconciler' using errcode = 'PB002';
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('merchant_id', p_merchant_id, 'subject', about, 'type', 'balance_mismatch',
           'provider', p_provider, 'account', p_account, 'ref', c.code, 'currency', c.code, 'expected', coalesce(ours.amount, 0),
           'actual', coalesce(theirs.amount, 0), 'evidence_at', clock_timestamp())), '[]') into compared
  from (
    select l.currency, sum(l.amount)::bigint as amount
    from ledger_accounts a join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id
    where a.merchant_id = platform and a.code in (p_provider || ':pending', p_provider || ':available')
    group by l.currency
  ) ours
  full join (
    select b.currency, (b.pending + b.available) as amount
    from jsonb_to_recordset(p_balances) b (currency text, pending bigint, available bigint)
  ) theirs on theirs.currency = ours.currency
  cross join lateral (select coalesce(ours.currency, theirs.currency) as code) c;
  -- what may still be on its way is nothing new; what is open already closes, or is open by other amounts
  perform record_discrepancies(array[p_merchant_id], array[about], array['balance_mismatch'],
    coalesce((
      select jsonb_agg(c) from jsonb_array_elements(compared) c
      where c -> 'expected' <> c -> 'actual' and (p_final or exists (
        select from discrepancies d
        where d.merchant_id = p_merchant_id and d.closed_at is null
          and d.fingerprint = 'balance_mismatch ' || about || ' ' || (c ->> 'currency')))), '[]'), p_detected_by);
  return query select c ->> 'currency', (c ->> 'expected')::bigint, (c ->> 'actual')::bigint from jsonb_array_elements(compared) c;
end $$;
comment on function reconcile_balance is
  'What our books say the provider holds for us, and what it says, by currency; what differs is opened once p_final says that'
  ' nothing is on its way any more, and closes whenever it is found to agree.';
