-- postbox: no-transaction
-- What is due is promoted by merchants in turn: the next merchant that has any is one step in the index, however many wait.
create index concurrently if not exists deliveries_waiting_in_turn on deliveries (merchant_id, due_at) where status = 'pending' and job_id is null;
