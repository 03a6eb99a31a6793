-- The handlers of the local lane, which run_local_batch calls. All of it with the rights of whoever calls.

-- An earlier release's form, of one payment.
drop function if exists watch_outcome(uuid, uuid, double precision, double precision);

create or replace function watch_outcome(
  p_merchant_ids uuid[], p_payment_ids uuid[], p_card double precision, p_bank double precision
) returns void
  language sql volatile
  -- of arrays a plan is made each time, which takes a third of the whole, to find each row by its key as any plan does
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
as $$
  -- each by its key: whatever is known of the states, all payments that wait are never looked through for a few of them
  with named as materialized (
    select p.merchant_id, p.id, p.method
    from unnest(p_merchant_ids, p_payment_ids) w (merchant_id, payment_id)
    cross join lateral (
      select * from payments q where q.merchant_id = w.merchant_id and q.id = w.payment_id offset 0
    ) p
    where p.state in ('submitted', 'requires_action') and p.observe_at is null
  )
  update payments p
  set observe_at = clock_timestamp() + make_interval(secs => case n.method when 'card' then p_card else p_bank end)
  from named n
  where p.merchant_id = n.merchant_id and p.id = n.id;
$$;
comment on function watch_outcome is 'When the clock has it observed again, by method in seconds, if nobody else set it.';

create or replace function credit_merchant(p_merchant_id uuid, p_payment_id uuid) returns void
  language sql volatile
as $$
  -- our fee on what was captured, by the schedule the payment was created under; computed once
  update payments p set
    fee = compute_fee(p.amount_captured, f.bps, coalesce((
      select x.amount from fee_schedule_fixed x where x.fee_schedule = p.fee_schedule and x.currency = p.currency), 0))
  from fee_schedules f
  where p.merchant_id = p_merchant_id and p.id = p_payment_id and f.id = p.fee_schedule and p.fee is null;

  -- to available when the money is already ours
  select ledger_post(p.merchant_id, 'payment_credited', 'payment', p.id::text, p.id, jsonb_build_array(
    jsonb_build_object('account', 'clearing:' || p.provider, 'currency', p.currency, 'amount', p.amount_captured),
    jsonb_build_object('account', m.account, 'currency', p.currency, 'amount', -p.amount_captured),
    jsonb_build_object('account', m.account, 'currency', p.currency, 'amount', coalesce(p.fee, 0)),
    jsonb_build_object('account', 'fee_revenue', 'currency', p.currency, 'amount', -coalesce(p.fee, 0))))
  from payments p
  cross join lateral (select case when p.settled_at is null then 'merchant:pending' else 'merchant:available' end as account) m
  where p.merchant_id = p_merchant_id and p.id = p_payment_id;
$$;
comment on function credit_merchant is 'J1: the merchant is credited what was captured, less our fee. ledger_close() follows.';

create or replace function release_funds(p_merchant_id uuid, p_payment_id uuid) returns void
  language sql volatile
as $$
  select ledger_post(a.merchant_id, 'funds_released', 'payment', p_payment_id::text, p_payment_id, jsonb_agg(moved.line))
  from ledger_accounts a
  cross join lateral (
    select currency, sum(amount)::bigint as amount from ledger_lines
    where account_id = a.id and payment_id = p_payment_id group by currency
  ) held
  cross join lateral (values
    (jsonb_build_object('account', 'merchant:pending', 'currency', held.currency, 'amount', -held.amount)),
    (jsonb_build_object('account', 'merchant:available', 'currency', held.currency, 'amount', held.amount))
  ) moved (line)
  where a.merchant_id = p_merchant_id and a.code = 'merchant:pending'
  group by a.merchant_id;
$$;
comment on function release_funds is
  'J2: what is left of the payment in pending, whatever it is, goes to available. ledger_close() follows.';

create or replace function post_fact(p_merchant_id uuid, p_event_id uuid) returns void
  language sql volatile
as $$
  with fact as (
    select e.merchant_id, e.topic, e.payment_id, f.provider, f.account || '/' || f.ref as source, f.currency, f.gross, f.fee, f.net, f.status,
           -- what the line is about, in the payment's own currency: the charge, of which there is one, a refund or a dispute
           p.currency as own_currency,
           case when f.kind in ('charge', 'payment') then coalesce(nullif(p.amount_captured, 0), p.amount)
                else sign(f.gross)::bigint * coalesce(r.amount, d.amount) end as own_gross,
           c.counter
    from events e
    cross join lateral jsonb_to_record(e.payload)
      as f (provider text, account text, ref text, kind text, currency text, gross bigint, fee bigint, net bigint, status text,
            refund_id uuid, dispute_id uuid)
    left join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
    left join refunds r on r.merchant_id = e.merchant_id and r.id = f.refund_id
    left join disputes d on d.merchant_id = e.merchant_id and d.id = f.dispute_id
    left join ledger_counters c on c.provider = f.provider and c.fact_kind = f.kind
    where e.merchant_id = p_merchant_id and e.id = p_event_id
  ),
  explained as (
    select *, counter is null and own_currency is distinct from currency and own_gross is not null as exchanged,
           case when counter = 'reserved' then provider || ':reserved' else coalesce(counter, otherwise) end as explanation
    from fact
    -- a line in another currency that says no amount of the payment's own waits for one
    cross join lateral (
      select case when own_currency = currency or own_gross is not null then 'clearing:' else 'suspense:' end || provider as otherwise
    ) unexplained
  ),
  lines as (
    -- its own side
    select place, account, currency, amount
    from explained, lateral (values
      (1, provider || ':' || status, net),
      (2, 'provider_fees', fee)
    ) own (place, account, amount)
    where topic = 'fact.recorded'
    union all
    select place, account, currency, amount
    from explained, lateral (values
      (1, provider || ':pending', -net),
      (2, provider || ':available', net)
    ) moved (place, account, amount)
    where topic = 'fact.available'
    union all
    select 1, 'suspense:' || provider, currency, gross
    from explained
    where topic = 'fact.matched' and explanation like 'clearing:%'
    union all
    -- its kind was not understood before
    select place, account, currency, amount
    from explained, lateral (values (1, otherwise, gross), (2, explanation, -gross)) moved (place, account, amount)
    where topic = 'fact.explained' and explanation <> otherwise
    union all
    -- the other side, through fx when the payment has another currency
    select place, x.account, x.currency, x.amount
    from explained, lateral (values
      (5, case when exchanged then 'fx' else explanation end, explained.currency, -gross),
      (4, 'fx', own_currency, case when exchanged then own_gross else 0 end),
      (3, explanation, own_currency, case when exchanged then -own_gross else 0 end)
    ) x (place, account, currency, amount)
    where topic = 'fact.recorded' or (topic = 'fact.matched' and explanation like 'clearing:%')
  )
  select ledger_post(f.merchant_id, replace(f.topic, '.', '_'), 'provider_transaction', f.provider || '/' || f.source, f.payment_id, (
    select jsonb_agg(jsonb_build_object('account', account, 'currency', currency, 'amount', amount) order by place) from lines))
  from explained f;
$$;
comment on function post_fact is
  'The provider''s side of a fact.* event, one rule for every line: its balance +net, its fees +fee, and -gross on the account'
  ' that explains it. ledger_close() follows.';
