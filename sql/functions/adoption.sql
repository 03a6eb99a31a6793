-- A payment that was over is taken as paid: one step, and from there what its refunds and disputes say, in the same transaction.

create or replace function adopt_payment(p_merchant_id uuid, p_payment_id uuid, p_amount bigint) returns payments
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  operator constant text := current_setting('postbox.actor_id', true);
  f record;
  said text;
  p payments;
begin
  if assert_actor_allowed() <> 'operator' then
    raise exception 'a payment is adopted by an operator' using errcode = 'PB002';
  end if;
  select c.*, q.method into f
  from payments q cross join lateral facts_of_children(q.merchant_id, q.id) c
  where q.merchant_id = p_merchant_id and q.id = p_payment_id for no key update of q;
  said := state_of_facts(f.method, p_amount, f.refunded, f.disputed, f.lost, null, false);
  -- sums that say another state are for the step after: no state is ever another than its facts say
  update payments set
    state = 'confirmed', amount_captured = p_amount, observe_at = clock_timestamp(),
    amount_refunded = case said when 'confirmed' then amount_refunded else 0 end,
    amount_disputed = case said when 'confirmed' then amount_disputed else 0 end,
    amount_lost = case said when 'confirmed' then amount_lost else 0 end
  where merchant_id = p_merchant_id and id = p_payment_id returning * into strict p;
  if said <> 'confirmed' then
    -- this step the provider has decided, and long ago
    perform set_config('postbox.actor_type', 'reconciler', true), set_config('postbox.on_behalf_of', operator, true);
    update payments set state = said, amount_refunded = f.refunded, amount_disputed = f.disputed, amount_lost = f.lost
    where merchant_id = p_merchant_id and id = p_payment_id returning * into strict p;
    perform set_config('postbox.actor_type', 'operator', true), set_config('postbox.on_behalf_of', '', true);
  end if;
  return p;
end $$;
comment on function adopt_payment is
  'failed or canceled -> confirmed with what was captured, and on to what its refunds and disputes say, each a step of its own.';
