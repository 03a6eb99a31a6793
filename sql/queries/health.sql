-- name: backlog
-- Pending and dead deliveries by handler, over all merchants, bounded.
select handler, pending, dead, oldest from queue_backlog(%(most)s) order by handler;

-- name: unknown_outcomes
-- Payments whose outcome is unknown, over all merchants, bounded.
select payments, oldest from outcomes_unknown(%(most)s);
