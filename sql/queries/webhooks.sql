-- name: act_for_owner
-- From here on the transaction acts for whoever owns the account; no row when nobody does.
select owner, set_config('postbox.merchant_id', owner::text, true) as carried
from webhook_owner(%(provider)s, %(account)s) as owner
where owner is not null;

-- name: store
-- Provider events of one account, in their order: whether each is new, or was there before; no owner, nobody's account.
select owner, stored from store_webhooks(%(provider)s, %(account)s, %(events)s::jsonb);

-- name: reject
-- Count refused webhooks: one row, and so one audit entry, per account and second.
insert into webhook_rejections (merchant_id, provider, account, second, reason, count)
values (%(owner)s, %(provider)s, %(account)s, date_trunc('second', clock_timestamp()), %(reason)s, %(count)s)
on conflict (merchant_id, provider, account, second) do update set count = webhook_rejections.count + excluded.count;

-- name: of_delivery
-- The stored provider event behind a delivery, and how long ago it came.
select *, extract(epoch from clock_timestamp() - received_at)::float8 as age
from webhooks where merchant_id = %(merchant_id)s and id = %(webhook_id)s;

-- name: replay
-- Run the handler of a stored provider event again.
select replay_webhook(%(merchant_id)s, %(webhook_id)s) as replayed;

-- name: known
-- Which of these events are stored, however they came.
select provider_event_id from webhooks
where provider = %(provider)s and account = %(account)s and provider_event_id = any(%(event_ids)s::text[]);

-- name: await
-- Of these events, found by asking, those that no webhook has told: their webhooks are awaited.
select await_webhooks(%(provider)s, %(account)s, %(event_ids)s::text[]);
