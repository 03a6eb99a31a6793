-- An earlier release's form: one row after the other.
drop function if exists run_local_group(
  text[], text[], uuid[], uuid[], uuid[], double precision, double precision, double precision);

-- One round trip for many local deliveries; where the handler can, one statement.
create or replace function run_local_batch(
  p_handler text, p_actor_type text, p_merchant_ids uuid[], p_event_ids uuid[], p_payment_ids uuid[],
  p_card double precision, p_bank double precision
) returns void
  language plpgsql volatile
as $$
declare
  many constant integer := cardinality(p_event_ids);
  -- what a statement for all costs before its first row is what this many of their own cost
  few constant integer := 4;
  step constant integer := case when p_handler in ('watch_outcome') and many > few then many else 1 end;
begin
  perform set_config('postbox.actor_type', p_actor_type, true), set_config('postbox.actor_id', p_handler, true);
  for n in 1 .. many by step loop
    -- set before each statement and not for all: its triggers read it when they fire, at its end
    if step = 1 then
      perform set_config('postbox.causation_id', p_event_ids[n]::text, true);
    else
      perform set_config('postbox.causations', jsonb_object_agg(w.payment_id, w.event_id)::text, true)
      from unnest(p_payment_ids, p_event_ids) w (payment_id, event_id);
    end if;
    case p_handler
      when 'watch_outcome' then
        perform watch_outcome(p_merchant_ids[n : n + step - 1], p_payment_ids[n : n + step - 1], p_card, p_bank);
      when 'credit_merchant' then perform credit_merchant(p_merchant_ids[n], p_payment_ids[n]);
      when 'release_funds' then perform release_funds(p_merchant_ids[n], p_payment_ids[n]);
      when 'post_fact' then perform post_fact(p_merchant_ids[n], p_event_ids[n]);
    end case;
  end loop;
  perform set_config('postbox.causations', '', true);
end $$;
comment on function run_local_batch is
  'Runs these deliveries of one handler, of which no two are about the same payment, each under its own event as the cause.';
