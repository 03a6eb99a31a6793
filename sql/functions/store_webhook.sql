-- With the rights of whoever calls: row level security holds the rows to whoever owns the account.
create or replace function store_webhooks(p_provider text, p_account text, p_events jsonb)
  returns table (owner uuid, stored boolean)
  language plpgsql volatile
as $$
declare
  v_event jsonb;
  v_known jsonb := '[]';
begin
  owner := webhook_owner(p_provider, p_account);
  if owner is not null then
    perform set_config('postbox.merchant_id', owner::text, true);
  end if;
  for v_event in select e.event from jsonb_array_elements(p_events) with ordinality e (event, place) order by e.place loop
    stored := false;
    if v_event ->> 'received_by' = 'webhook' then
      perform nextval('requests_served');
    end if;
    if owner is not null then
      perform act_in_request(v_event);
      insert into webhooks (merchant_id, provider, account, provider_event_id, type, object_id, payment_ref, payment_id,
        payment_merchant_id, api_version, livemode, created_at_provider, payload, body_sha256, received_by)
      select owner, p_provider, p_account, e.provider_event_id, e.type, e.object_id, e.payment_ref, e.payment_id,
        e.payment_merchant_id, e.api_version, e.livemode, e.created_at_provider, e.payload, e.body_sha256, e.received_by
      from jsonb_populate_record(null::webhooks, v_event) e
      on conflict (merchant_id, provider, account, provider_event_id) do nothing;
      stored := found;
      if not stored and v_event ->> 'received_by' = 'webhook' then
        v_known := v_known || (v_event - 'payload');
      end if;
    end if;
    return next;
  end loop;
  if v_known <> '[]' then
    perform webhooks_came_late(p_provider, p_account, v_known);
  end if;
end $$;
comment on function store_webhooks is
  'Stores provider events of one account, each given by the names of its columns, for the owner of the account, for whom the'
  ' transaction acts from here on, and in the request that the event names, if it does: a row for each, in their order. An event that'
  ' was stored before stays as it is, but is awaited no more. `owner` is null when nobody owns the account.';
-- at once, as with authenticate
grant execute on function store_webhooks to postbox_api, postbox_worker;
grant usage on sequence requests_served to postbox_api, postbox_worker;
comment on sequence requests_served is
  'Counts the requests that the API serves: each that is let in, each webhook that comes. What it says is that it moved.';

-- What the release before asks, while it still runs.
create or replace function store_webhook(p_provider text, p_account text, p_event jsonb)
  returns table (owner uuid, stored boolean)
  language sql volatile
as $$
  select s.owner, s.stored from store_webhooks(p_provider, p_account, jsonb_build_array(p_event)) s
$$;
comment on function store_webhook is 'store_webhooks for one event.';
