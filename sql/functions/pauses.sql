-- What an operator has stopped, said once. No definer and no search_path: so the planner takes it into the statement.

create or replace function pauses_of(p_handler text, p_merchant_id uuid, p_provider text) returns setof pauses
  language sql stable
as $$
  select p.* from pauses p
  where (p.kind = 'handler' and p.name = p_handler)
     or (p.kind = 'merchant' and p.name = p_merchant_id::text)
     or (p.kind = 'provider' and p.name = p_provider)
$$;
comment on function pauses_of is
  'The pauses that a delivery waits for: of its handler, its merchant, and, where it calls one, its provider (null for the local lane).';
