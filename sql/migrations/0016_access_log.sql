-- Who looked at what: reading leaves a trace as well as changing.

create table access_log (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  seen_at timestamptz not null default clock_timestamp(),
  -- who, as what, from where
  operator text not null,
  role text not null,
  address inet,
  request_id text,
  -- what was asked, and what came of it
  route text not null,
  entity text,
  result text not null,
  row_count integer not null,
  primary key (merchant_id, id),
  constraint access_log_row_count_is_not_negative check (row_count >= 0),
  constraint access_log_shows_rows_only_when_answered check (result = 'ok' or row_count = 0)
);
comment on table access_log is
  'One row per request of an operator that reads, and per merchant whose rows it showed; the platform''s where they were '
  'nobody''s. Append-only.';
create index access_log_by_time on access_log (seen_at, id);
create index access_log_by_operator on access_log (operator, seen_at);
