-- The event bus: events, who subscribes, and one delivery per (event, handler).

create table subscriptions (
  topic text not null references topics on delete restrict,
  handler text not null,
  lane text not null,
  subscribed_at timestamptz not null default clock_timestamp(),
  primary key (topic, handler),
  constraint subscriptions_lane_is_known check (lane in ('local', 'remote'))
);
comment on table subscriptions is 'Which handler hears of which topic, and in which lane it runs; the fan-out trigger reads it.';
comment on column subscriptions.subscribed_at is 'Events from here on are owed to this handler.';
insert into subscriptions (topic, handler, lane) values
  ('payment.initiated', 'submit_payment', 'remote'),
  ('operation.requested', 'run_operation', 'remote'),
  ('operation.create_repeated', 'close_orphans', 'remote'),
  ('payment.provider_submitted', 'watch_outcome', 'local'),
  ('payment.confirmed', 'watch_settlement', 'remote'),
  ('payment.failed', 'close_intent', 'remote'),
  ('payment.observation_due', 'observe_payment', 'remote'),
  ('webhook.received', 'apply_webhook', 'remote');

create table events (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  topic text not null references topics on delete restrict,
  payment_id uuid,
  payment_version bigint,
  operation_id uuid,
  webhook_id uuid,
  payload jsonb not null,
  occurred_at timestamptz not null default clock_timestamp(),
  epoch integer not null default current_epoch(),
  recorded_xid xid8 not null default pg_current_xact_id(),
  correlation_id text,
  causation_id text,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  foreign key (merchant_id, operation_id) references operations (merchant_id, id) on delete restrict,
  foreign key (merchant_id, webhook_id) references webhooks (merchant_id, id) on delete restrict
);
comment on table events is 'One row per thing that became true, written in the transaction that made it true. Never changed.';
create index events_feed on events (merchant_id, epoch, recorded_xid, id);
create index events_by_webhook on events (merchant_id, webhook_id) where webhook_id is not null;
create index events_by_payment on events (merchant_id, payment_id, id) where payment_id is not null;

create table deliveries (
  merchant_id uuid not null,
  event_id uuid not null,
  handler text not null,
  topic text not null,
  lane text not null,
  payment_id uuid,
  status text not null default 'pending',
  -- waiting is a due time without a job; a job is only a wake-up
  due_at timestamptz not null default clock_timestamp(),
  job_id bigint,
  alone boolean not null default false,
  runs integer not null default 0,
  failures integer not null default 0,
  deferrals integer not null default 0,
  rescues integer not null default 0,
  deferred_since timestamptz,
  deferred_for text,
  -- how it ended
  created_at timestamptz not null default clock_timestamp(),
  done_at timestamptz,
  dead_at timestamptz,
  dead_reason text,
  resolution text,
  resolved_by text,
  resolved_at timestamptz,
  resolved_reason text,
  primary key (merchant_id, event_id, handler),
  foreign key (merchant_id, event_id) references events (merchant_id, id) on delete restrict,
  constraint deliveries_status_is_known check (status in ('pending', 'done', 'dead')),
  constraint deliveries_done_at_iff_done check ((status = 'done') = (done_at is not null)),
  constraint deliveries_dead_at_iff_dead check ((status = 'dead') = (dead_at is not null) and (dead_at is null) = (dead_reason is null)),
  constraint deliveries_dead_reason_is_known check (dead_reason in ('failures', 'crash', 'misuse', 'deferred')),
  constraint deliveries_job_only_while_pending check (job_id is null or status = 'pending'),
  constraint deliveries_resolution_is_whole check (
    (resolution is null) = (resolved_by is null) and (resolution is null) = (resolved_at is null)
    and (resolution is null) = (resolved_reason is null)),
  constraint deliveries_resolution_is_known check (resolution in ('replayed', 'discarded'))
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
comment on table deliveries is 'One row per (event, handler): the truth about what is to be done. A dead one waits for a person.';
create index deliveries_runnable on deliveries (lane, merchant_id, event_id, handler) where status = 'pending' and job_id is not null;
create index deliveries_waiting on deliveries (due_at) where status = 'pending' and job_id is null;
create index deliveries_dead on deliveries (dead_at) where status = 'dead';
create index deliveries_of_open_payment on deliveries (merchant_id, payment_id) where status <> 'done';

create table delivery_failures (
  merchant_id uuid not null,
  event_id uuid not null,
  handler text not null,
  failed_at timestamptz not null default clock_timestamp(),
  id uuid not null default uuidv7(),
  error_class text not null,
  message text not null,
  traceback text not null,
  primary key (merchant_id, event_id, handler, id),
  foreign key (merchant_id, event_id, handler) references deliveries (merchant_id, event_id, handler) on delete restrict
);
comment on table delivery_failures is 'One row per raised failure of a delivery, kept after it was replayed.';
