-- postbox: no-transaction
-- Nothing looks for open calls but a check, which reads all of them for other reasons; who runs on asks by payment. For it no
-- completed call could stay in its place, and each paid an entry in every index of the table.
drop index concurrently if exists provider_calls_open;
