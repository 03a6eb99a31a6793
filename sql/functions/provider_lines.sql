-- Lines of a provider that are about no payment of ours.

create or replace function lines_of_nobody(p_scale float8)
  returns table (merchant_id uuid, subject text, type text, provider text, account text, ref text, currency text, expected bigint,
    actual bigint, evidence_at timestamptz)
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select x.merchant_id, 'provider_transaction/' || x.provider || '/' || x.account || '/' || x.ref, t.type, x.provider, x.account, x.kind,
         x.currency, 0::bigint, x.gross, x.recorded_at + t.grace * p_scale
  from provider_transactions x
  -- what is about a payment is missing here; what is about none waits to be explained
  join discrepancy_types t on t.type = case
    when x.kind in ('charge', 'payment', 'partial_capture_reversal', 'refund', 'refund_failure', 'dispute', 'dispute_reversal')
    then 'missing_here' else 'suspense_aged' end
  where x.payment_id is null and x.recorded_at + t.grace * p_scale <= clock_timestamp()
    and not exists (select from ledger_counters c where c.provider = x.provider and c.fact_kind = x.kind)
    and not exists (
      select from discrepancies d
      where d.merchant_id = x.merchant_id and (d.closed_at is null or d.status in ('resolved', 'written_off'))
        and d.fingerprint = t.type || ' provider_transaction/' || x.provider || '/' || x.account || '/' || x.ref || ' ' || x.kind)
$$;
comment on function lines_of_nobody is
  'The provider''s lines that have waited too long for a payment or an explanation, and of which nobody was told yet.';

create or replace function lines_of_somebody() returns setof discrepancies
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select d.* from discrepancies d
  where d.closed_at is null and d.type in ('missing_here', 'suspense_aged') and not exists (
    select from provider_transactions x
    where x.provider = d.provider and x.account = d.account and x.payment_id is null
      and not exists (select from ledger_counters c where c.provider = x.provider and c.fact_kind = x.kind)
      and d.subject = 'provider_transaction/' || x.provider || '/' || x.account || '/' || x.ref)
$$;
comment on function lines_of_somebody is 'What is open about lines that have found their payment since, or whose kind is understood.';

create or replace function reconcile_lines(p_scale float8, p_limit integer, p_detected_by text)
  returns table (opened bigint, closed bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  late jsonb;
  met text[];
  owners uuid[];
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'books are compared by the reconciler' using errcode = 'PB002';
  end if;
  select coalesce(jsonb_agg(to_jsonb(l)), '[]') into late
  from (select * from lines_of_nobody(p_scale) order by evidence_at limit p_limit) l;
  select array_agg(d.merchant_id), array_agg(d.subject) into owners, met
  from (select * from lines_of_somebody() order by first_seen_at limit p_limit) d;
  return query select r.opened, r.closed
  from record_discrepancies(owners, met, array['missing_here', 'suspense_aged'], late, p_detected_by) r;
end $$;
comment on function reconcile_lines is
  'The provider''s lines that are nobody''s: opened when they have waited too long, closed when their payment was found or their'
  ' kind is understood.';
