-- A bucket is a row that every request writes. What a write leaves behind stays for as long as a snapshot may want to see it,
-- and who looks a bucket up by its name alone walks past all of it: the second of the last take, newest first, leads to the row.

alter table rate_limits add column taken_in bigint not null default 0;
comment on column rate_limits.taken_in is
  'The second of the last take since 1970: the index is read from the newest on. Within a second a write touches no index.';
-- a few rows per key
-- squawk-ignore require-concurrent-index-creation
create index rate_limits_newest on rate_limits (merchant_id, scope, id, class, taken_in desc);
