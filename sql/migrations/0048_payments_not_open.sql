-- postbox: no-transaction
-- Operators page through a state as well, and a rare one lies anywhere among all payments. Of the states that every payment
-- passes through there is no entry here: who is on its way pays nothing for it, and payments_not_final finds those.
create index concurrently if not exists payments_not_open on payments (merchant_id, state, created_at desc, id desc) where state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back', 'returned', 'failed', 'canceled');
