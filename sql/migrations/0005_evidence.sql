-- What we asked providers, what they said, and who did what.

create table operations (
  merchant_id uuid not null,
  id uuid not null default uuidv7(),
  payment_id uuid not null,
  kind text not null,
  status text not null default 'pending',
  step text not null,
  attempt integer not null default 1,
  amount bigint,
  reason text,
  target_ref text,
  params jsonb not null,
  params_sha256 text not null,
  -- the one who may record the outcome
  lease_token uuid,
  lease_expires_at timestamptz,
  asks integer not null default 0,
  outcome text,
  outcome_code text,
  outcome_message text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  constraint operations_kind_is_known check (kind in ('submit', 'capture', 'cancel', 'close', 'refund')),
  constraint operations_status_is_known check (status in ('pending', 'in_flight', 'unknown', 'succeeded', 'failed')),
  constraint operations_leased_iff_in_flight check (
    (status = 'in_flight') = (lease_token is not null) and (lease_token is null) = (lease_expires_at is null)),
  constraint operations_finished_iff_final check ((status in ('succeeded', 'failed')) = (finished_at is not null)),
  constraint operations_outcome_iff_final check ((status in ('succeeded', 'failed')) = (outcome is not null)),
  constraint operations_amount_is_positive check (amount > 0),
  constraint operations_attempt_is_bounded check (attempt between 1 and 100),
  constraint operations_target_ref_only_to_close check (target_ref is null or kind = 'close')
) with (fillfactor = 70);
comment on table operations is 'One row per intended effect at a provider, with the parameters every attempt is rebuilt from.';
create unique index operations_one_open_per_payment on operations (merchant_id, payment_id)
  where kind in ('submit', 'capture', 'cancel') and status in ('pending', 'in_flight', 'unknown');
create index operations_by_payment on operations (merchant_id, payment_id);
create index operations_leases on operations (lease_expires_at) where lease_expires_at is not null;
create index operations_open on operations (status, created_at) where status in ('pending', 'in_flight', 'unknown');

create table provider_calls (
  merchant_id uuid not null,
  id uuid not null default uuidv7(),
  payment_id uuid,
  operation_id uuid,
  provider text not null,
  account text not null,
  step text not null,
  attempt integer,
  method text not null,
  path text not null,
  idempotency_key text,
  request jsonb not null,
  request_sha256 text not null,
  sent_at timestamptz not null default clock_timestamp(),
  -- filled when the call ends; an open row is the evidence of a crash
  finished_at timestamptz,
  outcome text,
  http_status integer,
  replayed boolean,
  provider_request_id text,
  response jsonb,
  response_sha256 text,
  error_class text,
  error_detail text,
  duration_ms integer,
  late boolean not null default false,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  foreign key (merchant_id, operation_id) references operations (merchant_id, id) on delete restrict,
  constraint provider_calls_outcome_iff_finished check ((finished_at is null) = (outcome is null)),
  constraint provider_calls_outcome_is_known check (outcome in ('ok', 'refused', 'not_executed', 'ambiguous', 'misuse'))
) with (fillfactor = 60);
comment on table provider_calls is 'One row per HTTP request to a provider, written before it is sent and completed after.';
create index provider_calls_by_payment on provider_calls (merchant_id, payment_id, sent_at);
create index provider_calls_by_operation on provider_calls (merchant_id, operation_id);
create index provider_calls_open on provider_calls (sent_at) where finished_at is null;

create table operation_attempts (
  merchant_id uuid not null,
  operation_id uuid not null,
  step text not null,
  n integer not null,
  idempotency_key text not null,
  proof_call_id uuid,
  first_sent_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, operation_id, step, n),
  foreign key (merchant_id, operation_id) references operations (merchant_id, id) on delete restrict,
  foreign key (merchant_id, proof_call_id) references provider_calls (merchant_id, id) on delete restrict,
  constraint operation_attempts_further_attempt_iff_proof check ((n = 1) = (proof_call_id is null)),
  constraint operation_attempts_key_is_deterministic check (idempotency_key = operation_id || ':' || step || ':' || n)
);
comment on table operation_attempts is
  'One row per idempotency key ever sent; a further attempt carries the call that proved the last one had no effect.';
create unique index operation_attempts_key_is_unique on operation_attempts (merchant_id, idempotency_key);

create table provider_transactions (
  merchant_id uuid not null references merchants on delete restrict,
  provider text not null,
  account text not null,
  ref text not null,
  payment_id uuid,
  kind text not null,
  source_ref text,
  currency text not null,
  gross bigint not null,
  fee bigint not null,
  net bigint not null,
  status text not null,
  available_on timestamptz not null,
  created_at_provider timestamptz not null,
  recorded_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, provider, account, ref),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  constraint provider_transactions_status_is_known check (status in ('pending', 'available')),
  constraint provider_transactions_net_is_gross_less_fee check (net = gross - fee)
) with (fillfactor = 80);
comment on table provider_transactions is 'One row per money line of a provider: a fact, kept as the provider told it.';
create index provider_transactions_by_payment on provider_transactions (merchant_id, payment_id) where payment_id is not null;
create index provider_transactions_by_source on provider_transactions (source_ref) where source_ref is not null;
create index provider_transactions_pending on provider_transactions (provider, account, available_on) where status = 'pending';

create table webhooks (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  provider text not null,
  account text not null,
  provider_event_id text not null,
  type text not null,
  object_id text,
  payment_ref text,
  payment_id uuid,
  payment_merchant_id uuid,
  api_version text,
  livemode boolean not null,
  created_at_provider timestamptz not null,
  received_at timestamptz not null default clock_timestamp(),
  payload jsonb not null,
  body_sha256 text not null,
  primary key (merchant_id, id),
  foreign key (merchant_id, provider, account) references provider_accounts on delete restrict,
  constraint webhooks_id_is_bounded check (length(provider_event_id) between 1 and 255)
);
comment on table webhooks is
  'One row per provider event, for ever: a redelivery finds it and changes nothing. The body is evidence, never an instruction.';
create unique index webhooks_stored_once on webhooks (merchant_id, provider, account, provider_event_id);
create index webhooks_by_payment on webhooks (payment_id) where payment_id is not null;
create index webhooks_by_event_id on webhooks (provider_event_id);
create index webhooks_by_payment_ref on webhooks (payment_ref) where payment_ref is not null;

create table webhook_rejections (
  merchant_id uuid not null references merchants on delete restrict,
  provider text not null,
  account text not null,
  second timestamptz not null,
  reason text not null,
  count bigint not null default 1,
  primary key (merchant_id, provider, account, second),
  constraint webhook_rejections_account_exists foreign key (merchant_id, provider, account)
    references provider_accounts on delete restrict,
  constraint webhook_rejections_second_is_whole check (second = date_trunc('second', second))
) with (fillfactor = 60);
comment on table webhook_rejections is 'Refused webhooks, counted per account and second: strangers must not fill the audit.';

create table circuits (
  merchant_id uuid not null references merchants on delete restrict,
  provider text not null,
  account text not null,
  state text not null default 'closed',
  failures integer not null default 0,
  opened_at timestamptz,
  probe_at timestamptz,
  reason text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, provider, account),
  constraint circuits_state_is_known check (state in ('closed', 'open')),
  constraint circuits_open_iff_probe_at check ((state = 'open') = (probe_at is not null) and (state = 'open') = (opened_at is not null))
) with (fillfactor = 50);
comment on table circuits is 'One row per provider account that has ever failed us; while open, calls wait and one probe at a time goes through.';

create table pauses (
  kind text not null,
  name text not null,
  reason text not null,
  paused_by text not null,
  paused_at timestamptz not null default clock_timestamp(),
  primary key (kind, name),
  constraint pauses_kind_is_known check (kind in ('provider', 'handler', 'merchant'))
);
comment on table pauses is 'What an operator has stopped by hand; deliveries behind it wait and count nothing.';

create table audit_log (
  merchant_id uuid not null,
  id uuid not null default uuidv7(),
  epoch integer not null default current_epoch(),
  recorded_xid xid8 not null default pg_current_xact_id(),
  recorded_at timestamptz not null default clock_timestamp(),
  -- who
  actor_type text not null,
  actor_id text not null,
  on_behalf_of text,
  db_role text not null,
  reason text,
  -- what
  action text not null,
  entity_type text not null,
  entity_id text not null,
  payment_id uuid,
  payment_version bigint,
  request_id text,
  correlation_id text,
  causation_id text,
  body text not null,
  payload_sha256 text,
  row_sha256 bytea not null,
  primary key (merchant_id, id),
  constraint audit_log_version_iff_payment_change check ((entity_type = 'payment') = (payment_version is not null))
);
comment on table audit_log is 'Who did what, when and why: one row per change, append-only, each hashed over its stored text.';
create unique index audit_log_one_entry_per_payment_version on audit_log (merchant_id, payment_id, payment_version)
  where payment_version is not null;
create index audit_log_by_payment on audit_log (merchant_id, payment_id, recorded_at) where payment_id is not null;
create index audit_log_by_entity on audit_log (merchant_id, entity_type, entity_id) where payment_id is null;
create index audit_log_by_seal_order on audit_log (epoch, recorded_xid, id);
