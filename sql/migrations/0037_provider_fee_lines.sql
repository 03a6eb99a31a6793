-- What a provider charges beside its payments is a cost of ours, and waits for nobody to explain it.

alter table ledger_counters
  -- squawk-ignore ban-drop-constraint
  drop constraint ledger_counters_counter_is_known,
  add constraint ledger_counters_counter_is_known check (counter in ('cash_in_transit', 'reserved', 'provider_fees')) not valid;
comment on table ledger_counters is
  'What stands against a provider''s line that is not about a payment''s own money: payouts, reserves, and what the provider charges'
  ' or gives back of it. All others are clearing or suspense.';
-- Stripe, "Reporting categories": fee is any of its fees that is not taken off a charge, network_cost what the schemes charge, tax on both.
insert into ledger_counters (provider, fact_kind, counter) values
  ('stripe', 'fee', 'provider_fees'), ('stripe', 'network_cost', 'provider_fees'), ('stripe', 'tax', 'provider_fees');

insert into ledger_entry_kinds (kind, meaning) values
  ('fact_explained', 'a line whose kind was not understood when it was booked: from suspense or clearing to what it is');
insert into topics (topic, merchant_visible) values ('fact.explained', false);
insert into subscriptions (topic, handler, lane) values ('fact.explained', 'post_fact', 'local');

-- Those that were booked before are moved once, by the handler.
insert into events (merchant_id, topic, payment_id, payload, correlation_id)
select t.merchant_id, 'fact.explained', t.payment_id,
       jsonb_build_object('provider', t.provider, 'account', t.account, 'ref', t.ref, 'kind', t.kind, 'currency', t.currency,
         'gross', t.gross, 'fee', t.fee, 'net', t.net, 'status', t.status), coalesce(t.payment_id::text, t.ref)
from provider_transactions t
where t.provider = 'stripe' and t.kind in ('fee', 'network_cost', 'tax') and t.gross <> 0
  and exists (
    select from ledger_entries e
    where e.merchant_id in (t.merchant_id, '00000000-0000-0000-0000-000000000000') and e.kind = 'fact_recorded'
      and e.source_type = 'provider_transaction' and e.source_id = t.provider || '/' || t.account || '/' || t.ref);
