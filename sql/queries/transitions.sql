-- name: all
-- Every edge of the state machine, in the order of the states.
select t.from_state, t.to_state, t.event, t.class, t.actors, t.guard
from payment_transitions t
join payment_states f on f.state = t.from_state
join payment_states g on g.state = t.to_state
order by f.rank, t.from_state, g.rank, t.to_state;

-- name: states
-- Every state, in order.
select state, rank, terminal, meaning from payment_states order by rank, state;
