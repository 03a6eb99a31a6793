-- What merchants are paid of what they have, and what is held back of it.

create table merchant_payouts (
  merchant_id uuid not null references merchants on delete restrict,
  id uuid not null default uuidv7(),
  status text not null default 'requested',
  -- money, in minor units of currency
  currency text not null references currencies (code) on delete restrict,
  amount bigint not null,
  -- when
  requested_at timestamptz not null default clock_timestamp(),
  paid_at timestamptz,
  returned_at timestamptz,
  -- who asked for it, and why
  requested_by text not null,
  reason text not null,
  -- the bank's line that it left our account by
  bank_account text,
  bank_ref text,
  primary key (merchant_id, id),
  constraint merchant_payouts_status_is_known check (status in ('requested', 'paid', 'returned')),
  constraint merchant_payouts_amount_is_positive check (amount > 0 and amount <= 9007199254740991),
  constraint merchant_payouts_are_of_merchants check (merchant_id <> '00000000-0000-0000-0000-000000000000'),
  constraint merchant_payouts_paid_has_paid_at check (status <> 'paid' or paid_at is not null),
  constraint merchant_payouts_returned_at_iff_returned check ((status = 'returned') = (returned_at is not null)),
  constraint merchant_payouts_bank_line_iff_paid check (
    (paid_at is null) = (bank_account is null) and (paid_at is null) = (bank_ref is null)),
  constraint merchant_payouts_bank_line_pays_once unique (merchant_id, bank_account, bank_ref),
  constraint merchant_payouts_bank_account_is_a_name check (bank_account ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint merchant_payouts_texts_are_bounded check (
    length(requested_by) <= 200 and length(reason) between 1 and 2000 and length(bank_ref) between 1 and 255)
) with (fillfactor = 80);
comment on table merchant_payouts is
  'One row per transfer of a merchant''s available money to its bank. It spends only what is there; the bank''s line closes it.';
create index merchant_payouts_by_time on merchant_payouts (requested_at desc, id desc);

insert into ledger_entry_kinds (kind, meaning) values
  ('merchant_payout_requested', 'J9: merchant''s available +amount, merchant payouts in flight -amount'),
  ('merchant_payout_paid', 'the bank''s line of J9: merchant payouts in flight +amount, bank -amount'),
  ('merchant_payout_returned', 'a merchant payout came back: in flight, or the bank once it was paid, +amount, merchant''s available -amount'),
  ('reserve_held', 'J10: merchant''s available +amount, merchant''s reserve -amount'),
  ('reserve_released', 'J10: merchant''s reserve +amount, merchant''s available -amount');
