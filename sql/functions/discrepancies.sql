-- What a person does about a discrepancy, and what its row tells: audit and event by trigger, so that nobody closes one in silence.

create or replace function discrepancy_bucket(p_age interval) returns text
  language sql immutable parallel safe
  return case when p_age < interval '1 day' then '0-1 d' when p_age < interval '3 days' then '1-3 d' when p_age < interval '7 days' then '3-7 d'
              when p_age < interval '30 days' then '7-30 d' else 'over 30 d' end;
comment on function discrepancy_bucket is 'How old a discrepancy is, as reports sort them.';

create or replace function discrepancies_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.discrepancies'::regclass then
    raise exception 'discrepancies_200_check guards postbox.discrepancies and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'a discrepancy is never deleted' using errcode = 'PB004';
  end if;
  if assert_actor_allowed() = 'operator' and (tg_op = 'INSERT' or new.status = 'auto_resolved') then
    raise exception 'what meets and what does not is found by the reconciler' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    return new;
  end if;
  if old.closed_at is not null then
    raise exception 'a closed discrepancy stays as it was closed' using errcode = 'PB004';
  end if;
  if (new.merchant_id, new.id, new.type, new.subject, new.payment_id, new.ref, new.first_seen_at, new.evidence_at)
     is distinct from (old.merchant_id, old.id, old.type, old.subject, old.payment_id, old.ref, old.first_seen_at, old.evidence_at) then
    raise exception 'what a discrepancy is about never changes' using errcode = 'PB004';
  end if;
  if old.unacknowledged_at is not null and new.unacknowledged_at is distinct from old.unacknowledged_at then
    raise exception 'that nobody acknowledged it in time is told once' using errcode = 'PB004';
  end if;
  return new;
end $$;
comment on function discrepancies_200_check is 'A discrepancy is closed once and never deleted; what it is about never changes.';

create or replace function discrepancies_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.discrepancies'::regclass then
    raise exception 'discrepancies_500_audit records postbox.discrepancies and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id,
    'discrepancy.' || case when tg_op = 'INSERT' then 'opened' when new.status <> old.status then new.status
                           when new.unacknowledged_at is distinct from old.unacknowledged_at then 'unacknowledged' else 'changed' end,
    'discrepancy', new.id::text, new.payment_id, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end,
    null, new.resolution_note);
  return null;
end $$;
comment on function discrepancies_500_audit is 'One audit entry per discrepancy that is opened, changed or closed.';

create or replace function discrepancies_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  topic text;
begin
  if tg_relid <> 'postbox.discrepancies'::regclass then
    raise exception 'discrepancies_700_event speaks for postbox.discrepancies and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    topic := 'discrepancy.opened';
  elsif new.closed_at is not null and old.closed_at is null then
    topic := 'discrepancy.closed';
  elsif new.unacknowledged_at is not null and old.unacknowledged_at is null then
    topic := 'discrepancy.unacknowledged';
  else
    return null;
  end if;
  insert into events (merchant_id, topic, payment_id, payload, correlation_id, causation_id)
  values (new.merchant_id, topic, new.payment_id,
    jsonb_build_object('discrepancy_id', new.id, 'type', new.type, 'severity', new.severity, 'status', new.status, 'subject', new.subject,
      'ref', new.ref, 'currency', new.currency, 'expected', new.expected, 'actual', new.actual, 'delta', new.delta,
      'sla_due_at', new.sla_due_at, 'resolved_by', new.resolved_by, 'resolution_code', new.resolution_code),
    coalesce(new.payment_id::text, new.subject), nullif(current_setting('postbox.causation_id', true), ''));
  return null;
end $$;
comment on function discrepancies_700_event is 'A discrepancy tells when it is opened, when it is closed, and once if nobody acknowledged it in time, for those who notify.';

create or replace function write_off_discrepancy(p_merchant_id uuid, p_id uuid, p_reason text) returns discrepancies
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  operator text;
  d discrepancies;
  held record;
begin
  if assert_actor_allowed() <> 'operator' or coalesce(btrim(p_reason), '') = '' then
    raise exception 'money is written off by an operator who says why' using errcode = 'PB002';
  end if;
  operator := (signed_in_person()).name;
  select * into d from discrepancies where merchant_id = p_merchant_id and id = p_id;
  perform from payments where merchant_id = d.merchant_id and id = d.payment_id for no key update;
  select * into d from discrepancies where merchant_id = p_merchant_id and id = p_id for update;
  if d.closed_at is not null then
    raise exception 'a closed discrepancy stays as it was closed' using errcode = 'PB004';
  end if;
  -- a request is good for a day; a second one by the same person asks again
  if d.write_off_asked_by is null or d.write_off_asked_by = operator or d.write_off_asked_at < clock_timestamp() - interval '1 day' then
    perform assert_signed_in('propose');
    update discrepancies set write_off_asked_by = operator, write_off_asked_at = clock_timestamp(), resolution_note = p_reason
    where merchant_id = p_merchant_id and id = p_id returning * into d;
    return d;
  end if;
  perform assert_signed_in('decide');
  select a.code, sum(l.amount)::bigint as amount into held
  from ledger_accounts a
  join ledger_lines l on l.account_id = a.id and l.currency = d.currency and l.payment_id = d.payment_id
  where a.merchant_id = platform and a.code = 'clearing:' || d.provider
  group by a.code having sum(l.amount) <> 0;
  if held.amount is null then
    raise exception 'clearing holds nothing of it that could be written off'
      using errcode = 'check_violation', constraint = 'discrepancies_write_off_moves_something';
  end if;
  perform set_config('postbox.reason', p_reason, true);
  update discrepancies set
    status = 'written_off', closed_at = clock_timestamp(), resolved_by = d.write_off_asked_by, approved_by = operator,
    resolution_code = 'written_off', resolution_note = p_reason,
    resolution_entry_id = ledger_write(d.merchant_id, 'written_off', 'discrepancy', d.id::text, d.payment_id, null, jsonb_build_array(
      jsonb_build_object('account', 'losses', 'currency', d.currency, 'amount', held.amount),
      jsonb_build_object('account', held.code, 'currency', d.currency, 'amount', -held.amount)))
  where merchant_id = p_merchant_id and id = p_id returning * into d;
  return d;
end $$;
comment on function write_off_discrepancy is
  'J11: what clearing holds of a discrepancy is a loss. One who may propose asks, another who may decide posts it; both are signed in.';
