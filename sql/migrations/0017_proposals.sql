-- Four eyes: what one operator proposes, another decides, within a day.

create table proposals (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  act text not null,
  status text not null default 'open',
  -- what would be done, exactly
  payment_id uuid,
  parameters jsonb not null,
  parameters_sha256 text not null,
  -- who wants it and why, who decided and why
  proposed_by text not null references operators (name) on delete restrict,
  reason text not null,
  decided_by text references operators (name) on delete restrict,
  decision_reason text,
  -- when
  proposed_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  decided_at timestamptz,
  primary key (merchant_id, id),
  foreign key (merchant_id, payment_id) references payments (merchant_id, id) on delete restrict,
  constraint proposals_act_is_known check (act in ('adopt', 'discard')),
  constraint proposals_status_is_known check (status in ('open', 'approved', 'rejected', 'expired')),
  constraint proposals_maker_is_not_checker check (status <> 'approved' or decided_by <> proposed_by),
  constraint proposals_decided_by_somebody_for_a_reason check (
    (status in ('approved', 'rejected')) = (decided_by is not null)
    and (decided_by is null) = (decided_at is null) and (decided_by is null) = (decision_reason is null)),
  constraint proposals_approved_in_time check (status <> 'approved' or decided_at <= expires_at),
  constraint proposals_expire_within_a_day check (expires_at <= proposed_at + interval '24 hours'),
  constraint proposals_texts_are_bounded check (length(reason) between 1 and 500 and length(decision_reason) between 1 and 500)
);
comment on table proposals is
  'One row per act that needs two people: who proposed exactly what, who decided, and until when one may. Never changed '
  'after it was decided; a proposal is carried out in the transaction that approves it.';
create unique index proposals_one_open_of_a_kind on proposals (merchant_id, act, parameters_sha256) where status = 'open';
create index proposals_by_time on proposals (proposed_at, id);
