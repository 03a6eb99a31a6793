-- With the rights of whoever calls: row level security holds the row to whoever owns the account.
create or replace function store_webhook(p_provider text, p_account text, p_event jsonb)
  returns table (owner uuid, stored boolean)
  language plpgsql volatile
as $$
begin
  owner := webhook_owner(p_provider, p_account);
  stored := false;
  if p_event ->> 'received_by' = 'webhook' then
    perform nextval('requests_served');
  end if;
  if owner is not null then
    perform set_config('postbox.merchant_id', owner::text, true);
    if p_event ? 'request_id' then
      perform set_config('postbox.request_id', p_event ->> 'request_id', true),
        set_config('postbox.correlation_id', p_event ->> 'trace_id', true),
        set_config('postbox.causation_id', p_event ->> 'trace_id', true);
    end if;
    insert into webhooks (merchant_id, provider, account, provider_event_id, type, object_id, payment_ref, payment_id,
      payment_merchant_id, api_version, livemode, created_at_provider, payload, body_sha256, received_by)
    select owner, p_provider, p_account, e.provider_event_id, e.type, e.object_id, e.payment_ref, e.payment_id,
      e.payment_merchant_id, e.api_version, e.livemode, e.created_at_provider, e.payload, e.body_sha256, e.received_by
    from jsonb_populate_record(null::webhooks, p_event) e
    on conflict (merchant_id, provider, account, provider_event_id) do nothing;
    stored := found;
    if not stored and p_event ->> 'received_by' = 'webhook' then
      perform webhook_came_late(p_provider, p_account, p_event ->> 'provider_event_id');
    end if;
  end if;
  return next;
end $$;
comment on function store_webhook is
  'Stores one provider event, given by the names of its columns, for the owner of the account, for whom the transaction acts from'
  ' here on, and in the request that the event names, if it does: many are stored in one transaction. An event that was stored'
  ' before stays as it is, but is awaited no more. `owner` is null when nobody owns the account.';
grant usage on sequence requests_served to postbox_api, postbox_worker; -- at once, as with take_token
