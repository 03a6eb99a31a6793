-- name: backlog
-- Pending and dead deliveries by handler and its lane, over all merchants, bounded; a handler of another release has none.
select b.handler, b.pending, b.dead, b.oldest,
       coalesce((select min(s.lane) from subscriptions s where s.handler = b.handler), 'none') as lane
from queue_backlog(%(most)s) b order by b.handler;

-- name: unknown_outcomes
-- Payments whose outcome is unknown, over all merchants, bounded.
select payments, oldest from outcomes_unknown(%(most)s);

-- name: discrepancies
-- Books that do not meet by type and severity, over all merchants, bounded.
select type, severity, discrepancies, overdue, unacknowledged from discrepancies_open(%(most)s) order by type, severity;

-- name: debts
-- What merchants owe us by currency, over all merchants, bounded.
select currency, merchants, owed from debts_of_merchants(%(most)s) order by currency;

-- name: oldest_runnable
-- For how many seconds the oldest delivery that could run has been waiting for a worker, over all merchants, bounded.
select oldest_runnable(%(most)s) as seconds;

-- name: unsafe_settings
-- Settings of this server, as this login gets them, with which a crash can lose or tear what was committed. Each is asked for by
-- its name: pg_settings is made whole, all 400 of them, each time.
select name from unnest(array['fsync', 'full_page_writes', 'synchronous_commit']) as name
where current_setting(name) = 'off'
order by name;
