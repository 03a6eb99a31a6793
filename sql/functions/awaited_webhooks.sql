-- Webhooks that are still to come: awaited once asking found their event first, and no more once they come or a person looks.

-- An earlier release's form, which looked at what was late already when it was found and at nothing else.
drop function if exists open_missing_webhooks(text[], float8);

create or replace function await_webhooks(p_provider text, p_account text, p_event_ids text[]) returns bigint
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  awaited bigint;
  owners uuid[];
  payments uuid[];
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'what a webhook should have told is found by the reconciler' using errcode = 'PB002';
  end if;
  select array_agg(l.merchant_id), array_agg(l.id) into owners, payments
  from (
    select p.merchant_id, p.id from payments p
    where p.provider = p_provider and p.provider_account = p_account and p.provider_ref in (
      select k.payment_ref from webhooks k
      where k.provider = p_provider and k.account = p_account and k.provider_event_id = any (p_event_ids) and k.received_by = 'poll')
    order by p.merchant_id, p.id for no key update
  ) l;
  insert into awaited_webhooks (merchant_id, webhook_id, provider, account, payment_ref, provider_event_id, happened_at)
  select k.merchant_id, k.id, k.provider, k.account, k.payment_ref, k.provider_event_id, least(k.created_at_provider, k.received_at)
  from webhooks k
  where k.provider = p_provider and k.account = p_account and k.provider_event_id = any (p_event_ids)
    and k.received_by = 'poll' and k.payment_ref is not null
  order by k.merchant_id, k.id
  on conflict (merchant_id, webhook_id) do nothing;
  get diagnostics awaited = row_count;
  perform reconcile_soon_all(owners, payments);
  return awaited;
end $$;
comment on function await_webhooks is
  'Of these events those that asking found before a webhook told them: their webhooks are awaited from here on, and their payments'
  ' compared, which sets the moment when that will have been too long.';

-- Executable by nobody: a person who replays it says so.
create or replace function end_awaited_webhook(p_merchant_id uuid, p_webhook_id uuid, p_by text) returns boolean
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  a awaited_webhooks;
  p record;
begin
  select * into a from awaited_webhooks w where w.merchant_id = p_merchant_id and w.webhook_id = p_webhook_id and w.over_at is null;
  if not found then
    return false;
  end if;
  -- its payment first: who compares it now does so before or after this, never past it
  select q.merchant_id, q.id into p from payments q
  where q.provider = a.provider and q.provider_account = a.account and q.provider_ref = a.payment_ref for no key update;
  update awaited_webhooks w set over_at = clock_timestamp(), over_by = p_by
  where w.merchant_id = p_merchant_id and w.webhook_id = p_webhook_id and w.over_at is null;
  if not found then
    return false;
  end if;
  perform audit_write(p_merchant_id, 'webhook.awaited_no_more', 'webhook', p_webhook_id::text, p.id, null,
    jsonb_build_object('over_by', p_by, 'provider_event_id', a.provider_event_id));
  if p.id is not null then
    perform reconcile_soon(p.merchant_id, p.id);
  end if;
  return true;
end $$;
comment on function end_awaited_webhook is 'This webhook is awaited no more, and its payment compared; false when it was not awaited.';

create or replace function reconcile_sooner(p_merchant_id uuid, p_payment_id uuid) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  update reconcile_due d set due_at = least(d.due_at, clock_timestamp() + interval '500 milliseconds')
  from (select r.merchant_id, r.payment_id from reconcile_due r
        where r.merchant_id = p_merchant_id and r.payment_id = p_payment_id for update skip locked) free
  where d.merchant_id = free.merchant_id and d.payment_id = free.payment_id
$$;
comment on function reconcile_sooner is
  'reconcile_soon for a payment whose lock another holds, waiting for nobody: its next comparison is brought forward, unless the other'
  ' holds that as well.';

-- Waits for nobody: many webhooks are stored in one transaction, and a payment that a person holds is none of the others'.
create or replace function webhooks_came_late(p_provider text, p_account text, p_events jsonb) returns bigint
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  late record;
  is_locked boolean;
  ended bigint := 0;
begin
  -- in the order of locks, and after everything was stored: who stores what asking found holds that and waits for its payments
  for late in
    select w.merchant_id, w.webhook_id, w.provider_event_id, e.event, p.merchant_id as owner, p.id as payment_id
    from jsonb_array_elements(p_events) e (event)
    join webhooks k on k.merchant_id = acting_merchant() and k.provider = p_provider and k.account = p_account
      and k.provider_event_id = e.event ->> 'provider_event_id'
    join awaited_webhooks w on w.merchant_id = k.merchant_id and w.webhook_id = k.id and w.over_at is null
    left join payments p on p.provider = w.provider and p.provider_account = w.account and p.provider_ref = w.payment_ref
    order by p.merchant_id, p.id, w.webhook_id
  loop
    perform from payments p where p.merchant_id = late.owner and p.id = late.payment_id for no key update skip locked;
    is_locked := found;
    -- who holds this ends the wait for the same webhook
    perform from awaited_webhooks w
    where w.merchant_id = late.merchant_id and w.webhook_id = late.webhook_id and w.over_at is null for update skip locked;
    continue when not found;
    update awaited_webhooks w set over_at = clock_timestamp(), over_by = 'webhook'
    where w.merchant_id = late.merchant_id and w.webhook_id = late.webhook_id;
    perform act_in_request(late.event);
    perform audit_write(late.merchant_id, 'webhook.awaited_no_more', 'webhook', late.webhook_id::text, late.payment_id, null,
      jsonb_build_object('over_by', 'webhook', 'provider_event_id', late.provider_event_id));
    if is_locked then
      perform reconcile_soon(late.owner, late.payment_id);
    elsif late.payment_id is not null then
      perform reconcile_sooner(late.owner, late.payment_id);
    end if;
    ended := ended + 1;
  end loop;
  return ended;
end $$;
comment on function webhooks_came_late is
  'The webhooks of events that are stored already have come, for whom the transaction acts: how many were still awaited, and are no'
  ' more. The payment of each is compared, soon or, where somebody holds it, at the latest when the clock says.';
grant execute on function webhooks_came_late to postbox_api, postbox_worker; -- at once, as with authenticate

-- What the release before asks, while it still runs.
create or replace function webhook_came_late(p_provider text, p_account text, p_event_id text) returns boolean
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select webhooks_came_late(p_provider, p_account, jsonb_build_array(jsonb_build_object('provider_event_id', p_event_id))) > 0
$$;
comment on function webhook_came_late is 'webhooks_came_late for one event.';
