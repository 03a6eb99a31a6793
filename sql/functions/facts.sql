-- What a payment is after it was confirmed, from its facts alone, and what its children say these facts are.

create or replace function state_of_facts(
  p_method text, p_captured bigint, p_refunded bigint, p_disputed bigint, p_lost bigint, p_settled_at timestamptz, p_returned boolean
) returns text
  language sql immutable parallel safe
  return case
    when p_returned or (p_method <> 'card' and p_lost > 0) then 'returned'
    when p_lost > 0 then 'charged_back'
    when p_disputed > 0 then 'disputed'
    when p_captured > 0 and p_refunded >= p_captured then 'refunded'
    when p_settled_at is not null then 'settled'
    else 'confirmed'
  end;
comment on function state_of_facts is
  'The state of a confirmed payment: the one function of its facts. p_returned: the bank''s return stands. Every pair it can give is an edge.';

-- A request reserves while it is not over; a dispute holds what it withdrew: lost when it is lost, else for now.
create or replace function facts_of_children(
  p_merchant_id uuid, p_payment_id uuid, out refund_pending bigint, out refunded bigint, out disputed bigint, out lost bigint
)
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select r.pending, r.refunded, d.disputed, d.lost
  from (
    select coalesce(sum(amount) filter (where state in ('requested', 'submitting', 'outcome_unknown', 'pending')), 0)::bigint as pending,
           coalesce(sum(amount) filter (where state = 'succeeded'), 0)::bigint as refunded
    from refunds where merchant_id = p_merchant_id and payment_id = p_payment_id
  ) r
  cross join (
    select coalesce(sum(amount_withdrawn) filter (where state <> 'lost'), 0)::bigint as disputed,
           coalesce(sum(amount_withdrawn) filter (where state = 'lost'), 0)::bigint as lost
    from disputes where merchant_id = p_merchant_id and payment_id = p_payment_id
  ) d
$$;
comment on function facts_of_children is 'The sums that a payment''s refunds and disputes amount to now, in minor units of its currency.';
