-- Who may write what was found: compare payments, record what a comparison found, and say when to compare again.

create or replace function reconcile_soon(p_merchant_id uuid, p_payment_id uuid) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  -- half a second, so that what comes in one go is compared once; a row that is due by then is left alone, unlocked
  insert into reconcile_due (merchant_id, payment_id, due_at)
  select p_merchant_id, p_payment_id, soon.at
  from (select clock_timestamp() + interval '500 milliseconds' as at) soon
  where not exists (
    select from reconcile_due d where d.merchant_id = p_merchant_id and d.payment_id = p_payment_id and d.due_at <= soon.at)
  on conflict (merchant_id, payment_id) do update set due_at = least(reconcile_due.due_at, excluded.due_at)
$$;
comment on function reconcile_soon is
  'Something happened to this payment: its books are compared in half a second. The caller holds the payment''s lock.';

create or replace function reconcile_soon_all(p_merchant_ids uuid[], p_payment_ids uuid[]) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into reconcile_due (merchant_id, payment_id, due_at)
  select distinct w.merchant_id, w.payment_id, soon.at
  from (select clock_timestamp() + interval '500 milliseconds' as at offset 0) soon
  cross join unnest(p_merchant_ids, p_payment_ids) w (merchant_id, payment_id)
  where not exists (
    select from reconcile_due d where d.merchant_id = w.merchant_id and d.payment_id = w.payment_id and d.due_at <= soon.at)
  order by 1, 2
  on conflict (merchant_id, payment_id) do update set due_at = least(reconcile_due.due_at, excluded.due_at)
$$;
comment on function reconcile_soon_all is 'reconcile_soon for many payments.';

-- What is told about a discrepancy itself, or asked by the clock, changes no book.
create or replace function tells_of_books(p_topic text) returns boolean
  language sql immutable parallel safe
  return p_topic ~ '^(payment|fact|refund|dispute)\.' and p_topic <> 'payment.observation_due';
comment on function tells_of_books is 'Whether an event of this topic has the books of its payment compared.';

create or replace function events_900_reconcile() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.events'::regclass then
    raise exception 'events_900_reconcile serves postbox.events and nothing else' using errcode = 'PB002';
  end if;
  if not is_group() then
    perform reconcile_soon(new.merchant_id, new.payment_id);
  end if;
  return null;
end $$;
comment on function events_900_reconcile is 'An event about a payment''s state, money or children has its books compared.';

create or replace function ledger_entries_900_reconcile() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_entries'::regclass then
    raise exception 'ledger_entries_900_reconcile serves postbox.ledger_entries and nothing else' using errcode = 'PB002';
  end if;
  perform reconcile_soon(new.merchant_id, new.payment_id);
  return null;
end $$;
comment on function ledger_entries_900_reconcile is 'An entry about a payment has its books compared.';

-- Executable by nobody: the functions that compare decide what was compared.
create or replace function record_discrepancies(
  p_merchant_ids uuid[], p_subjects text[], p_types text[], p_found jsonb, p_detected_by text
) returns table (opened bigint, closed bigint)
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  actor constant text := acting_type() || ' ' || current_setting('postbox.actor_id', true);
  o discrepancies;
begin
  opened := 0;
  -- what was open and is found no more has met again
  update discrepancies d set status = 'auto_resolved', closed_at = clock_timestamp(), resolved_by = actor, resolution_code = 'met'
  from unnest(p_merchant_ids, p_subjects) compared (merchant_id, subject), discrepancy_types t
  where d.merchant_id = compared.merchant_id and d.subject = compared.subject and d.closed_at is null
    and t.type = d.type and t.closes_itself and (p_types is null or d.type = any (p_types))
    and not exists (
      select from jsonb_to_recordset(p_found) f (merchant_id uuid, subject text, type text, ref text)
      where f.merchant_id = d.merchant_id and f.subject = d.subject and f.type = d.type and f.ref = d.ref);
  get diagnostics closed = row_count;

  -- the same, by other amounts
  update discrepancies d set
    expected = f.expected, actual = f.actual, currency = f.currency, occurrences = d.occurrences + 1, last_seen_at = clock_timestamp()
  from jsonb_to_recordset(p_found) f (merchant_id uuid, subject text, type text, ref text, currency text, expected bigint, actual bigint)
  where d.merchant_id = f.merchant_id and d.fingerprint = f.type || ' ' || f.subject || ' ' || f.ref and d.closed_at is null
    and (d.expected, d.actual, d.currency) is distinct from (f.expected, f.actual, f.currency);

  for o in
    insert into discrepancies (merchant_id, type, severity, subject, payment_id, provider, account, ref, currency, expected, actual,
      evidence_at, sla_due_at, detected_by, reopens)
    select f.merchant_id, f.type, t.severity, f.subject, f.payment_id, f.provider, f.account, f.ref, f.currency, f.expected, f.actual,
      f.evidence_at, working_days_after(clock_timestamp(), t.fix_within), p_detected_by, before.times
    from jsonb_to_recordset(p_found) f (merchant_id uuid, subject text, type text, payment_id uuid, provider text, account text,
      ref text, currency text, expected bigint, actual bigint, evidence_at timestamptz)
    join discrepancy_types t on t.type = f.type
    cross join lateral (
      select count(*)::integer as times,
             -- a person has closed exactly this one: it stays closed until its amounts change
             coalesce(bool_or(d.status in ('resolved', 'written_off')
               and (d.expected, d.actual, d.currency) is not distinct from (f.expected, f.actual, f.currency)), false) as settled
      from discrepancies d
      where d.merchant_id = f.merchant_id and d.fingerprint = f.type || ' ' || f.subject || ' ' || f.ref
    ) before
    where not before.settled
    on conflict (merchant_id, fingerprint) where closed_at is null do nothing
    returning *
  loop
    opened := opened + 1;
    -- the provider is asked once more; it is the clock that asks, so that nothing outside is called from here
    if exists (select from discrepancy_types t where t.type = o.type and t.asks_provider) and exists (
      select from payments p where p.merchant_id = o.merchant_id and p.id = o.payment_id and p.provider_ref is not null)
      and not exists (
        select from deliveries d
        where d.merchant_id = o.merchant_id and d.payment_id = o.payment_id and d.handler = 'observe_payment' and d.status <> 'done')
    then
      perform emit_observation_due(o.merchant_id, o.payment_id);
    end if;
  end loop;
  return next;
end $$;
comment on function record_discrepancies is
  'Opens what was found, closes what was compared and found no more. Found twice, it changes nothing.';

create or replace function reconcile(p_merchant_ids uuid[], p_payment_ids uuid[], p_scale float8, p_detected_by text)
  returns table (opened bigint, closed bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  now_at constant timestamptz := clock_timestamp();
  subjects constant text[] := array(select 'payment/' || u.id from unnest(p_payment_ids) with ordinality u (id, place) order by u.place);
  rows jsonb;
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'books are compared by the reconciler' using errcode = 'PB002';
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('merchant_id', f.merchant_id, 'payment_id', f.payment_id, 'subject', 'payment/' || f.payment_id,
           'type', f.type, 'provider', p.provider, 'account', p.provider_account, 'ref', f.ref, 'currency', f.currency,
           'expected', f.expected, 'actual', f.actual, 'evidence_at', f.evidence_at)), '[]') into rows
  from reconcile_payments(p_merchant_ids, p_payment_ids, p_scale) f
  cross join lateral (
    select q.provider, q.provider_account from payments q
    where q.merchant_id = f.merchant_id and q.id between f.payment_id and f.payment_id order by q.id limit 1
  ) p;

  select r.opened, r.closed into opened, closed
  from record_discrepancies(p_merchant_ids, subjects, null,
    coalesce((select jsonb_agg(f) from jsonb_array_elements(rows) f where (f ->> 'evidence_at')::timestamptz <= now_at), '[]'), p_detected_by) r;

  -- the next comparison: when silence will be too long, and for what is open again and again, ever more rarely
  with found as materialized (
    select (f ->> 'merchant_id')::uuid as merchant_id, (f ->> 'payment_id')::uuid as payment_id,
           min((f ->> 'evidence_at')::timestamptz) as at
    from jsonb_array_elements(rows) f
    where (f ->> 'evidence_at')::timestamptz > now_at
    group by 1, 2
  ),
  next_comparison as (
    select w.merchant_id, w.payment_id, least(found.at,
      (select now_at + greatest(interval '1 minute' * p_scale, least((now_at - min(d.first_seen_at)) / 4, interval '1 day' * p_scale))
       from discrepancies d where d.merchant_id = w.merchant_id and d.subject = 'payment/' || w.payment_id and d.closed_at is null
       having count(*) > 0)) as at
    from unnest(p_merchant_ids, p_payment_ids) w (merchant_id, payment_id)
    left join found on found.merchant_id = w.merchant_id and found.payment_id = w.payment_id
  ),
  gone as (
    delete from reconcile_due d using next_comparison n
    where d.merchant_id = n.merchant_id and d.payment_id = n.payment_id and n.at is null
  )
  insert into reconcile_due (merchant_id, payment_id, due_at)
  select n.merchant_id, n.payment_id, n.at from next_comparison n where n.at is not null
  on conflict (merchant_id, payment_id) do update set due_at = excluded.due_at
  where reconcile_due.due_at is distinct from excluded.due_at;
  return next;
end $$;
comment on function reconcile is
  'Compares the books of these payments, records what was found, and sets when each is compared next. The caller holds their locks.';
