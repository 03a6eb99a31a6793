-- postbox: no-transaction
-- A provider's line is stored once, whoever's it turns out to be: a late match moves it, it never becomes two. Only the worker writes it.
create unique index concurrently if not exists provider_transactions_ref_is_global on provider_transactions (provider, account, ref);
