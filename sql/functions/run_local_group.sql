-- One round trip for a group of local deliveries, in place of two for each of them.
create or replace function run_local_group(
  p_handlers text[], p_actor_types text[], p_merchant_ids uuid[], p_event_ids uuid[], p_payment_ids uuid[],
  p_seconds double precision, p_card double precision, p_bank double precision
) returns integer
  language plpgsql volatile
as $$
declare
  deadline constant timestamptz := clock_timestamp() + make_interval(secs => p_seconds);
begin
  for n in 1 .. cardinality(p_handlers) loop
    -- the second is whose turn it is: however slow they are, no merchant waits for the end of another's backlog
    if n > 2 and clock_timestamp() > deadline then
      return n - 1;
    end if;
    -- set before each and not for all: the triggers of a statement read the actor when they fire, at its end
    perform set_config('postbox.actor_type', p_actor_types[n], true),
            set_config('postbox.actor_id', p_handlers[n], true),
            set_config('postbox.causation_id', p_event_ids[n]::text, true);
    case p_handlers[n]
      when 'watch_outcome' then perform watch_outcome(p_merchant_ids[n], p_payment_ids[n], p_card, p_bank);
      when 'credit_merchant' then perform credit_merchant(p_merchant_ids[n], p_payment_ids[n]);
      when 'release_funds' then perform release_funds(p_merchant_ids[n], p_payment_ids[n]);
      when 'post_fact' then perform post_fact(p_merchant_ids[n], p_event_ids[n]);
    end case;
  end loop;
  return cardinality(p_handlers);
end $$;
comment on function run_local_group is
  'Runs these deliveries in their order, each under its own actor, until p_seconds are over; at least two. Returns how many.';
