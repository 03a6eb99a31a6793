-- Several webhooks tell of one change; a look at the payment that began after they came has answered them all.

alter table payments add column looked_at timestamptz;
comment on column payments.looked_at is 'When the newest look that was applied began: whatever a webhook told before, it has seen.';
