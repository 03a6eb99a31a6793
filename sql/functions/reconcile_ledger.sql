-- The books compared with themselves: every entry is zero in every currency, every balance is the sum of its account's lines.

create or replace function ledger_imbalances(
  p_part text, p_merchant_id uuid, p_id uuid, p_limit integer, out imbalances jsonb, out last_merchant_id uuid, out last_id uuid
)
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
begin
  if p_part = 'entries' then
    with page as materialized (
      select e.merchant_id, e.id from ledger_entries e where (e.merchant_id, e.id) > (p_merchant_id, p_id)
      order by e.merchant_id, e.id limit p_limit
    ),
    sums as (
      select p.merchant_id, p.id, l.currency, coalesce(sum(l.amount), 0)::bigint as amount
      from page p left join ledger_lines l on l.merchant_id = p.merchant_id and l.entry_id = p.id
      group by p.merchant_id, p.id, l.currency
    )
    select coalesce(jsonb_agg(jsonb_build_object('merchant_id', s.merchant_id, 'subject', 'ledger_entry/' || s.id, 'type', 'ledger_imbalance',
             'ref', coalesce(s.currency, ''), 'currency', s.currency, 'expected', case when s.currency is not null then 0 end,
             'actual', case when s.currency is not null then s.amount end, 'evidence_at', clock_timestamp()))
             filter (where s.amount <> 0 or s.currency is null), '[]')
    into imbalances from sums s;
    select e.merchant_id, e.id into last_merchant_id, last_id from ledger_entries e
    where (e.merchant_id, e.id) > (p_merchant_id, p_id) order by e.merchant_id, e.id offset p_limit - 1 limit 1;
  else
    with page as materialized (
      select a.merchant_id, a.id, a.code from ledger_accounts a
      where (a.merchant_id, a.id) > (p_merchant_id, p_id) and a.code like 'merchant:%'
      order by a.merchant_id, a.id limit p_limit
    ),
    sums as (
      select p.merchant_id, p.id, p.code, currency, lines.amount as lines, held.amount as held
      from page p
      cross join lateral (
        select currency, l.amount as lines, b.amount as held
        from (select l.currency, sum(l.amount)::bigint as amount from ledger_lines l where l.account_id = p.id group by l.currency) l
        full join (select b.currency, b.amount from ledger_balances b where b.merchant_id = p.merchant_id and b.account_id = p.id) b
          using (currency)
      ) both_sides (currency, lines, held)
      cross join lateral (select coalesce(both_sides.lines, 0) as amount) lines
      cross join lateral (select coalesce(both_sides.held, 0) as amount) held
    )
    select coalesce(jsonb_agg(jsonb_build_object('merchant_id', s.merchant_id,
             'subject', 'ledger_account/' || ledger_account_name(s.merchant_id, s.code), 'type', 'ledger_imbalance', 'ref', s.currency,
             'currency', s.currency, 'expected', s.lines, 'actual', s.held, 'evidence_at', clock_timestamp()))
             filter (where s.lines <> s.held), '[]')
    into imbalances from sums s;
    select a.merchant_id, a.id into last_merchant_id, last_id from ledger_accounts a
    where (a.merchant_id, a.id) > (p_merchant_id, p_id) and a.code like 'merchant:%'
    order by a.merchant_id, a.id offset p_limit - 1 limit 1;
  end if;
end $$;
comment on function ledger_imbalances is
  'What is out of balance on one page, by key, of the entries (p_part entries) or of the merchants'' accounts (p_part accounts),'
  ' and where the page ends; null at the end of the table.';

create or replace function reconcile_ledger(
  p_part text, p_merchant_id uuid, p_id uuid, p_limit integer, p_detected_by text, out opened bigint, out last_merchant_id uuid, out last_id uuid
)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  page record;
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'books are compared by the reconciler' using errcode = 'PB002';
  end if;
  select * into page from ledger_imbalances(p_part, p_merchant_id, p_id, p_limit);
  select r.opened into opened from record_discrepancies('{}', '{}', array['ledger_imbalance'], page.imbalances, p_detected_by) r;
  last_merchant_id := page.last_merchant_id;
  last_id := page.last_id;
end $$;
comment on function reconcile_ledger is
  'Records what is out of balance on one page of the books; it closes by no rule, and stops payouts to whom it is about.';
