-- A dispute is decided within 120 days of the payment's last word: evidence is due within three weeks, and the bank takes up to 75 days.
insert into state_deadlines (state, method, type, counted_from, silent_for)
select 'disputed', m.method, 'stale_state', 'entered', interval '120 days'
from (values ('card'), ('us_bank_account'), ('ach')) m (method);

insert into reconcile_due (merchant_id, payment_id, due_at)
select merchant_id, id, clock_timestamp() from payments where state = 'disputed'
on conflict (merchant_id, payment_id) do update set due_at = excluded.due_at;
