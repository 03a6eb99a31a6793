-- name: note
-- What an operator was shown: a row per merchant, and one of the platform's when it was of none.
insert into access_log (merchant_id, operator, role, address, request_id, route, entity, result, row_count)
select seen.merchant_id, %(operator)s, %(role)s, %(address)s, %(request_id)s, %(route)s, %(entity)s, %(result)s, seen.row_count
from unnest(%(merchant_ids)s::uuid[], %(row_counts)s::integer[]) as seen (merchant_id, row_count);

-- name: page
-- Who looked at what, newest first.
select merchant_id, id, seen_at, operator, role, host(address) as address, request_id, route, entity, result, row_count
from access_log
where (%(operator)s::text is null or operator = %(operator)s)
  and (%(merchant_id)s::uuid is null or merchant_id = %(merchant_id)s)
  and (%(before_at)s::timestamptz is null or (seen_at, id) < (%(before_at)s, %(before_id)s::uuid))
order by seen_at desc, id desc
limit %(limit)s;
