-- Refunds that are silent for too long, and books that are compared with themselves.

create table refund_deadlines (
  state text not null,
  method text not null,
  type text not null references discrepancy_types on delete restrict,
  silent_for interval not null,
  primary key (state, method),
  constraint refund_deadlines_state_is_open check (state in ('requested', 'submitting', 'outcome_unknown', 'pending')),
  constraint refund_deadlines_method_is_known check (method in ('card', 'us_bank_account', 'ach')),
  constraint refund_deadlines_silence_is_not_negative check (silent_for >= interval '0')
);
comment on table refund_deadlines is
  'How long a refund may rest in a state without a word: after that, silence itself is a discrepancy. In production''s time.';
insert into refund_deadlines (state, method, type, silent_for)
select s.state, m.method, s.type, case m.method when 'card' then s.card else s.bank end
from (values
  ('requested', 'stale_state', interval '1 minute', interval '1 minute'),
  ('submitting', 'stale_state', interval '2 minutes', interval '1 day'),
  ('outcome_unknown', 'outcome_unknown_aged', interval '15 minutes', interval '2 hours'),
  -- a card's refund succeeds at once or when our balance suffices for it, a bank's within ten banking days
  ('pending', 'stale_state', interval '5 days', interval '14 days')
) s (state, type, card, bank)
cross join (values ('card'), ('us_bank_account'), ('ach')) m (method);

-- Refunds that are under way already are looked at now, and from then on by their own deadline.
insert into reconcile_due (merchant_id, payment_id, due_at)
select distinct merchant_id, payment_id, clock_timestamp() from refunds where state in ('requested', 'submitting', 'outcome_unknown', 'pending')
on conflict (merchant_id, payment_id) do update set due_at = excluded.due_at;

alter table reconciliation_runs
  -- squawk-ignore ban-drop-constraint
  drop constraint reconciliation_runs_kind_is_known,
  add constraint reconciliation_runs_kind_is_known check (kind in ('changes', 'balance', 'payout', 'nightly', 'ledger')) not valid;
