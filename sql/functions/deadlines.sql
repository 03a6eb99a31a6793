-- How soon somebody looks after a discrepancy and has it fixed, and what is told when nobody does.

-- No bank's holidays are known here: a deadline that meets one is a day early.
create or replace function working_days_after(p_at timestamptz, p_within interval) returns timestamptz
  language sql stable parallel safe
as $$
  select case when days.many = 0 then p_at + p_within
              else (select x.at from generate_series(1, 2 * days.many + 2) n
                    cross join lateral (select p_at + make_interval(days => n) as at) x
                    where extract(isodow from x.at at time zone 'UTC') < 6
                    order by n offset days.many - 1 limit 1) + (p_within - make_interval(days => days.many)) end
  from (select extract(day from p_within)::integer as many) days
$$;
comment on function working_days_after is
  'A deadline: of what one may take, hours are hours, and days are working days, Monday to Friday in UTC.';

create or replace function tell_unacknowledged(p_limit integer) returns bigint
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  told bigint;
begin
  if assert_actor_allowed() <> 'reconciler' then
    raise exception 'what nobody acknowledged is told by the clock' using errcode = 'PB002';
  end if;
  update discrepancies d set unacknowledged_at = clock_timestamp()
  from (
    select o.merchant_id, o.id
    from discrepancies o join discrepancy_severities s on s.severity = o.severity
    where o.status = 'open' and o.unacknowledged_at is null and o.severity <> 'low'
      and working_days_after(o.first_seen_at, s.acknowledge_within) <= clock_timestamp()
    order by o.first_seen_at limit p_limit for no key update of o skip locked
  ) late
  where d.merchant_id = late.merchant_id and d.id = late.id;
  get diagnostics told = row_count;
  return told;
end $$;
comment on function tell_unacknowledged is 'Tells, once each, of open discrepancies that nobody acknowledged in time; how many.';
