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

-- Executable by nobody: a webhook that comes and a person who replays it say which it was.
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

create or replace function webhook_came_late(p_provider text, p_account text, p_event_id text) returns boolean
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select end_awaited_webhook(k.merchant_id, k.id, 'webhook') from webhooks k
  where k.merchant_id = acting_merchant() and k.provider = p_provider and k.account = p_account and k.provider_event_id = p_event_id
$$;
comment on function webhook_came_late is
  'The webhook of an event that is stored already has come, for whom the transaction acts: true when it was still awaited.';
