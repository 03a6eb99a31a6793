-- What takes two people, held where it happens: whoever asks, psql included, an approved proposal of exactly this is used up by it.

create or replace function carry_out(p_act text, p_merchant_id uuid, p_parameters jsonb) returns void
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  update proposals p set carried_out_at = clock_timestamp()
  where p.merchant_id = p_merchant_id and p.id = (
    select q.id from proposals q
    where q.merchant_id = p_merchant_id and q.act = p_act and q.parameters = p_parameters
      and q.status = 'approved' and q.carried_out_at is null and q.expires_at > clock_timestamp()
    order by q.decided_at limit 1 for no key update);
  if not found then
    raise exception 'two people have not agreed to %', p_act using errcode = 'PB005';
  end if;
end $$;
comment on function carry_out is
  'Uses up one approved proposal of exactly this act, or PB005; called by the guards of what takes two people, and granted to nobody.';

-- Unknown handlers move money: a new one says here that it does not.
create or replace function moves_money(p_handler text) returns boolean
  language sql immutable parallel safe
  return p_handler not in (
    -- only ask the provider, however often they run
    'apply_webhook', 'observe_payment', 'watch_settlement', 'list_changes', 'read_payout', 'prove_balance',
    -- sets a deadline
    'watch_outcome');
comment on function moves_money is
  'Whether running a handler could move money or write it into the books: such a dead letter is discarded by two people.';

-- What was given back already counts, whoever asked for it: otherwise many small refunds are one large one.
create or replace function refund_takes_two(p_merchant_id uuid, p_payment_id uuid, p_amount bigint) returns boolean
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select p_amount + coalesce((
      select sum(r.amount) from refunds r
      where r.merchant_id = p.merchant_id and r.payment_id = p.id and r.state not in ('failed', 'canceled')), 0)
    > coalesce((select l.amount from refund_limits l where l.currency = p.currency), 0)
  from payments p where p.merchant_id = p_merchant_id and p.id = p_payment_id
$$;
comment on function refund_takes_two is 'Whether a refund of so many minor units, with those before it, is more than one operator gives back alone.';

create or replace function refund_limits_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.refund_limits'::regclass then
    raise exception 'refund_limits_500_audit records postbox.refund_limits and nothing else' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  perform audit_write(
    '00000000-0000-0000-0000-000000000000', 'refund_limit.changed', 'refund_limit', coalesce(new.currency, old.currency), null, null,
    jsonb_build_object('before', case when tg_op <> 'INSERT' then to_jsonb(old) end,
                       'after', case when tg_op <> 'DELETE' then to_jsonb(new) end));
  return null;
end $$;
comment on function refund_limits_500_audit is 'One audit entry per change of what one person may give back.';
