-- Webhooks that are still to come: what a reading of a provider's events found first, and what ended the wait for each.

create table awaited_webhooks (
  merchant_id uuid not null,
  webhook_id uuid not null,
  provider text not null,
  account text not null,
  payment_ref text not null,
  provider_event_id text not null,
  -- when
  happened_at timestamptz not null,
  over_at timestamptz,
  -- how it ended
  over_by text,
  primary key (merchant_id, webhook_id),
  foreign key (merchant_id, webhook_id) references webhooks (merchant_id, id) on delete restrict,
  constraint awaited_webhooks_over_by_is_known check (over_by in ('webhook', 'replay')),
  constraint awaited_webhooks_over_at_iff_over check ((over_at is null) = (over_by is null))
) with (fillfactor = 70);
comment on table awaited_webhooks is
  'One row per event about a payment that asking found before any webhook told it: it is awaited until its webhook comes after all,'
  ' or a person has it handled again. Never deleted; the event itself is stored once, in webhooks.';
comment on column awaited_webhooks.happened_at is 'The event''s own time, and never later than it was found: from then on its webhook may be late.';
-- a comparison asks for those of each payment it looks at
create index awaited_webhooks_open on awaited_webhooks (payment_ref) where over_at is null;
