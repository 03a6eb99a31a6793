-- The work that every queue does for one delivery, the same for all: claim, state change with audit and event, next
-- delivery enqueued, done. Installed into the benchmark's database only.

create function bench_step(p_merchant_ids uuid[], p_payment_ids uuid[]) returns void
  language sql volatile
as $$
  update payments p set state = 'authorized', amount_authorized = p.amount, provider_rank = 50
  from unnest(p_merchant_ids, p_payment_ids) w (merchant_id, payment_id)
  where p.merchant_id = w.merchant_id and p.id = w.payment_id and p.state = 'submitted'
$$;

-- One delivery in one transaction, by one statement: the fewest round trips that a queue can make of it.
create function bench_deliver(p_merchant_id uuid, p_event_id uuid) returns void
  language plpgsql volatile
as $$
declare
  payment uuid;
begin
  perform set_config('role', 'postbox_worker', true), set_config('postbox.actor_type', 'worker', true),
          set_config('postbox.actor_id', 'bench_step', true), set_config('postbox.causation_id', p_event_id::text, true);
  select d.payment_id into payment from deliveries d
  where d.merchant_id = p_merchant_id and d.event_id = p_event_id and d.handler = 'bench_step' and d.status = 'pending'
  for update skip locked;
  if not found then
    return;
  end if;
  perform from payments p where p.merchant_id = p_merchant_id and p.id = payment for no key update;
  perform bench_step(array[p_merchant_id], array[payment]);
  update deliveries d set status = 'done', done_at = clock_timestamp(), job_id = null, runs = d.runs + 1
  where d.merchant_id = p_merchant_id and d.event_id = p_event_id and d.handler = 'bench_step';
end $$;

-- The limit: a group in one statement with nothing around it, by the function that the local lane calls.
create function bench_group(p_most integer) returns integer
  language plpgsql volatile
as $$
declare
  merchants uuid[];
  events uuid[];
  payments_ uuid[];
  jobs bigint[];
begin
  perform set_config('role', 'postbox_worker', true);
  select array_agg(g.merchant_id), array_agg(g.event_id), array_agg(g.payment_id), array_agg(g.job_id)
  into merchants, events, payments_, jobs
  from (
    select d.merchant_id, d.event_id, d.payment_id, d.job_id
    from deliveries d
    join procrastinate_jobs j on j.id = d.job_id and j.status = 'todo'
    where d.lane = 'local' and d.status = 'pending' and d.job_id is not null
    order by d.lane, d.merchant_id, d.event_id, d.handler
    limit p_most
    for update of d, j skip locked
  ) g;
  if merchants is null then
    return 0;
  end if;
  perform from payments p where (p.merchant_id, p.id) in (select * from unnest(merchants, payments_))
  order by p.merchant_id, p.id for no key update;
  perform run_local_batch('bench_step', 'worker', merchants, events, payments_, 600, 600);
  update deliveries d set status = 'done', done_at = clock_timestamp(), job_id = null, runs = d.runs + 1
  from unnest(merchants, events) w (merchant_id, event_id)
  where d.merchant_id = w.merchant_id and d.event_id = w.event_id and d.handler = 'bench_step';
  delete from procrastinate_jobs where id = any (jobs);
  return cardinality(events);
end $$;

grant execute on function bench_step, bench_deliver, bench_group to postbox_worker;

-- The local lane knows this handler as it knows its own: many by one statement, as watch_outcome is, or a statement for
-- each, as those that post to the ledger are.
create function bench_know(p_many_at_once boolean) returns void
  language plpgsql volatile
as $$
declare
  known constant text := pg_get_functiondef('run_local_batch'::regproc);
  alone constant text := '(''watch_outcome'')';
begin
  execute replace(
    case when p_many_at_once then replace(known, alone, '(''watch_outcome'', ''bench_step'')') else known end,
    'case p_handler', 'case p_handler when ''bench_step'' then
      perform bench_step(p_merchant_ids[n : n + step - 1], p_payment_ids[n : n + step - 1]);');
end $$;

delete from subscriptions;
insert into subscriptions (topic, handler, lane) values ('payment.provider_submitted', 'bench_step', 'local');
