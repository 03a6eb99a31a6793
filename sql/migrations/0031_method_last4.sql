-- What the payer recognises their card or account by; the provider tells it with the first charge.

-- Not valid: the column is new and null in every row, so there is nothing to read through.
alter table payments
  add column method_last4 text,
  add constraint payments_last4_is_four_digits check (method_last4 ~ '^[0-9]{4}$') not valid;
comment on column payments.method_last4 is 'The last four digits of the card or account, once the provider has told them; never more of it.';
