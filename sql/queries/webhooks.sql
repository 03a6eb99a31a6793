-- name: store
-- One provider event under the owner of its account: no row when nobody owns it, no id when it was stored before.
with owner as (
  select merchant_id from provider_accounts where provider = %(provider)s and account = %(account)s
), stored as (
  insert into webhooks (merchant_id, provider, account, provider_event_id, type, object_id, payment_ref, payment_id,
    payment_merchant_id, api_version, livemode, created_at_provider, payload, body_sha256)
  select merchant_id, %(provider)s, %(account)s, %(provider_event_id)s, %(type)s, %(object_id)s, %(payment_ref)s,
    %(payment_id)s, %(payment_merchant_id)s, %(api_version)s, %(livemode)s, %(created_at)s, %(payload)s, %(body_sha256)s
  from owner
  on conflict (merchant_id, provider, account, provider_event_id) do nothing
  returning id
)
select owner.merchant_id, stored.id from owner left join stored on true;

-- name: reject
-- Count a refused webhook: one row, and so one audit entry, per account and second.
insert into webhook_rejections (merchant_id, provider, account, second, reason)
select merchant_id, provider, account, date_trunc('second', clock_timestamp()), %(reason)s
from provider_accounts
where provider = %(provider)s and account = %(account)s
on conflict (merchant_id, provider, account, second) do update set count = webhook_rejections.count + 1;

-- name: of_delivery
-- The stored provider event behind a delivery, and how long ago it came.
select *, extract(epoch from clock_timestamp() - received_at)::float8 as age
from webhooks where merchant_id = %(merchant_id)s and id = %(webhook_id)s;
