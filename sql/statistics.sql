-- What is supposed of a tenant table until somebody counts it: all its rows are one merchant's, each with an id and a payment of
-- its own.
-- Of a table that nobody has counted PostgreSQL supposes that a merchant has next to nothing in it: then every index that begins
-- with the merchant leads to a row as well as the primary key does, and the youngest is taken. Such a plan reads all that a
-- merchant has for one row, sessions keep it, and foreign keys are checked by it, so that no form of our statements is a cure.
-- ANALYZE, which autovacuum runs within a minute of the first rows, puts what is true in the place of this.

select pg_restore_attribute_stats(
  'schemaname', n.nspname::text, 'relname', c.relname::text, 'attname', a.attname::text, 'inherited', false,
  'null_frac', 0::real, 'avg_width', a.attlen::integer, 'n_distinct', case a.attnum when m.attnum then 1 else -1 end::real)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_index k on k.indrelid = c.oid and k.indisprimary
join pg_attribute m on m.attrelid = c.oid and m.attnum = k.indkey[0] and m.attname = 'merchant_id'
join pg_attribute a on a.attrelid = c.oid and a.atttypid = 'uuid'::regtype and (a.attnum = any (k.indkey) or a.attname = 'payment_id')
where n.nspname = 'postbox'
  and not exists (select from pg_stats s where (s.schemaname, s.tablename, s.attname) = (n.nspname, c.relname, a.attname));
