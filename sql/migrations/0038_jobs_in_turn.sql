-- postbox: no-transaction
-- Our workers fetch by queue and merchant: a backlog in one queue, or of one merchant, stands in nobody else's way.
create index concurrently if not exists procrastinate_jobs_in_turn on procrastinate.procrastinate_jobs (queue_name, ((args ->> 'merchant_id')::uuid), id) where status = 'todo';
