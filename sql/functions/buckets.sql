-- Token buckets: exact over all processes, because a row lock orders the takes, and what is set is computed after the lock,
-- from the row as it is then and from one reading of the clock.

create or replace function tokens_at(
  p_tokens_micro bigint, p_updated_at timestamptz, p_at timestamptz, p_rate bigint, p_burst bigint
) returns bigint
  language sql immutable
  as $$
    select least(
      p_burst * 1000000::numeric,
      p_tokens_micro + greatest(0, extract(epoch from p_at - p_updated_at) * 1000000) * p_rate
    )::bigint
  $$;
comment on function tokens_at is
  'What a bucket holds at a moment, in millionths: it fills by p_rate tokens per second, up to p_burst. Never a float.';

-- An earlier release's form.
drop function if exists tokens_after(bigint, timestamptz, bigint, bigint);

create or replace function take_from_bucket(
  p_merchant_id uuid, p_scope text, p_id text, p_class text, p_rate bigint, p_burst bigint, out allowed boolean, out left_micro bigint
)
  language plpgsql volatile
  set search_path = postbox, pg_temp
  -- one plan suits every bucket, planning takes longer than taking, and the key's index is the wrong one
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
declare
  -- a clock that is kept right is never set back by more
  a_moment constant interval := '1 second';
  v_place tid;
  v_tokens bigint;
  v_at timestamptz;
  v_since timestamptz;
begin
  loop
    -- a bucket is one row: the newest entry of the index leads to it, whatever else a snapshot still sees of it
    select r.ctid, r.tokens_micro, r.updated_at into v_place, v_tokens, v_since from rate_limits r
    where r.merchant_id = p_merchant_id and r.scope = p_scope and r.id = p_id and r.class = p_class
    order by r.taken_in desc limit 1
    for update;
    exit when found;
    insert into rate_limits (merchant_id, scope, id, class, tokens_micro, updated_at, taken_in)
    values (p_merchant_id, p_scope, p_id, p_class, (p_burst - 1) * 1000000, clock_timestamp(), extract(epoch from clock_timestamp())::bigint)
    on conflict (merchant_id, scope, id, class) do nothing
    returning true, tokens_micro into allowed, left_micro;
    if found then
      return;
    end if;
  end loop;
  v_at := clock_timestamp();
  if v_since > v_at + a_moment then
    -- the clock had gone ahead and was set back: from now on the bucket fills again, and not when that hour comes
    v_since := v_at;
  end if;
  -- never before the last take: time does not run backwards in a bucket
  v_at := greatest(v_at, v_since);
  left_micro := tokens_at(v_tokens, v_since, v_at, p_rate, p_burst);
  allowed := left_micro >= 1000000;
  if allowed then
    left_micro := left_micro - 1000000;
  end if;
  update rate_limits r set tokens_micro = take_from_bucket.left_micro, updated_at = v_at, taken_in = extract(epoch from v_at)::bigint
  where r.ctid = v_place;
end $$;
comment on function take_from_bucket is
  'Takes one token from a bucket, which is full when it is new; a refusal takes nothing. The row stays locked until COMMIT.';

create or replace function tokens_in_bucket(
  p_merchant_id uuid, p_scope text, p_id text, p_class text, p_rate bigint, p_burst bigint
) returns bigint
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select coalesce((
    select tokens_at(r.tokens_micro, r.updated_at, clock_timestamp(), p_rate, p_burst) from rate_limits r
    where r.merchant_id = p_merchant_id and r.scope = p_scope and r.id = p_id and r.class = p_class
    order by r.taken_in desc limit 1), p_burst * 1000000)
$$;
comment on function tokens_in_bucket is 'What a bucket holds now, in millionths; nothing is taken, and a bucket that nobody asked yet is full.';
