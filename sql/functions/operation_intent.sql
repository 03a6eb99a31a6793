-- What may be intended with a payment as it is now; operations_200_check has said who may intend it.

-- No definer: under row level security another merchant's payment is not there, and nothing is told of it.
create or replace function operations_200_intent() returns trigger
  language plpgsql volatile
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  payment record;
begin
  if tg_relid <> 'postbox.operations'::regclass then
    raise exception 'operations_200_intent guards postbox.operations and nothing else' using errcode = 'PB002';
  end if;
  if new.attempt <> 1 or new.step <> (case new.kind when 'submit' then 'create' else new.kind end) then
    raise exception 'a % begins with its first step, not with attempt % of %', new.kind, new.attempt, new.step
      using errcode = 'check_violation', constraint = 'operations_begins_with_its_first_step';
  end if;

  select state, amount_authorized into payment
  from payments where merchant_id = new.merchant_id and id = new.payment_id for no key update;
  -- a payment that is not there is refused by the foreign key or by row level security
  if not found then
    return new;
  end if;
  -- a refund is guarded where it is reserved
  if payment.state <> all (case
       when new.kind = 'submit' then array['initiated', 'submitting']
       when new.kind = 'capture' then array['authorized']
       when new.kind = 'cancel' then array['requires_action', 'authorized']
       when new.kind = 'close' and new.target_ref is null then array['failed']
       else array[payment.state] end) then
    raise exception 'there is no % of a payment that is %', new.kind, payment.state using errcode = 'PB001';
  end if;
  if new.kind = 'capture' and new.amount > payment.amount_authorized then
    raise exception 'at most % is authorized', payment.amount_authorized
      using errcode = 'check_violation', constraint = 'operations_capture_is_authorized';
  end if;
  if new.kind = 'capture' and (new.params -> 'amount_to_capture') is distinct from to_jsonb(new.amount) then
    raise exception 'what is sent is not what is intended'
      using errcode = 'check_violation', constraint = 'operations_capture_sends_its_amount';
  end if;
  if new.kind = 'refund' and (new.params -> 'amount') is distinct from to_jsonb(new.amount) then
    raise exception 'what is sent is not what is intended'
      using errcode = 'check_violation', constraint = 'operations_refund_sends_its_amount';
  end if;
  return new;
end $$;
comment on function operations_200_intent is
  'Refuses an operation that its payment''s state, or what is authorized of it, does not allow: PB001, or the name of the rule.';
