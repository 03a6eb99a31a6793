-- What the books refuse and what they tell. Fired by triggers.sql in the order of the numbers.

create or replace function ledger_entries_200_balanced() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_entries'::regclass then
    raise exception 'ledger_entries_200_balanced guards postbox.ledger_entries and nothing else' using errcode = 'PB002';
  end if;
  perform assert_entry_balanced(new.merchant_id, new.id);
  return null;
end $$;
comment on function ledger_entries_200_balanced is 'At COMMIT: an entry without its lines is refused.';

create or replace function ledger_lines_200_balanced() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_lines'::regclass then
    raise exception 'ledger_lines_200_balanced guards postbox.ledger_lines and nothing else' using errcode = 'PB002';
  end if;
  perform assert_entry_balanced(new.merchant_id, new.entry_id);
  return null;
end $$;
comment on function ledger_lines_200_balanced is
  'At COMMIT, once more for every line: a line that was added after the entry''s own check is checked too.';

create or replace function assert_entry_balanced(p_merchant_id uuid, p_entry_id uuid) returns void
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
declare
  lines bigint;
  off text;
begin
  select coalesce(sum(s.lines), 0), string_agg(s.amount || ' ' || s.currency, ', ') filter (where s.amount <> 0) into lines, off
  from (select currency, sum(amount) as amount, count(*) as lines
        from ledger_lines where merchant_id = p_merchant_id and entry_id = p_entry_id group by currency) s;
  if lines < 2 or off is not null then
    raise exception 'entry % has % lines and is off by %', p_entry_id, lines, coalesce(off, 'nothing')
      using errcode = 'check_violation', constraint = 'ledger_entries_sum_to_zero';
  end if;
end $$;
comment on function assert_entry_balanced is 'Refuses an entry of fewer than two lines, or whose lines are not zero in every currency.';

create or replace function ledger_entries_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_entries'::regclass then
    raise exception 'ledger_entries_200_check guards postbox.ledger_entries and nothing else' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  if (new.epoch, new.recorded_xid) is distinct from (current_epoch(), pg_current_xact_id()) then
    raise exception 'an entry belongs to the transaction that writes it' using errcode = 'PB004';
  end if;
  return new;
end $$;
comment on function ledger_entries_200_check is 'An entry is written by a known actor, under its own transaction''s id.';

create or replace function ledger_lines_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  e ledger_entries;
begin
  if tg_relid <> 'postbox.ledger_lines'::regclass then
    raise exception 'ledger_lines_200_check guards postbox.ledger_lines and nothing else' using errcode = 'PB002';
  end if;
  select * into e from ledger_entries where merchant_id = new.merchant_id and id = new.entry_id;
  if (e.epoch, e.recorded_xid) is distinct from (current_epoch(), pg_current_xact_id())
     or (new.epoch, new.recorded_xid) is distinct from (e.epoch, e.recorded_xid) then
    raise exception 'entry % is closed', new.entry_id using errcode = 'PB004';
  end if;
  if new.payment_id is distinct from e.payment_id then
    raise exception 'a line is about the payment of its entry' using errcode = 'PB004';
  end if;
  return new;
end $$;
comment on function ledger_lines_200_check is 'Lines are added only by the transaction that wrote the entry, and for its payment.';

create or replace function ledger_lines_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_lines'::regclass then
    raise exception 'ledger_lines_500_audit records postbox.ledger_lines and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    e.merchant_id, case e.kind when 'reversal' then 'ledger.reversed' else 'ledger.posted' end, 'ledger_entry', e.id::text,
    e.payment_id, null, jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(e)) || jsonb_build_object('lines', l.lines)))
  from (
    select n.merchant_id, n.entry_id,
           jsonb_agg(jsonb_build_object('line', n.line, 'account_id', n.account_id, 'account', ledger_account_name(a.merchant_id, a.code),
             'currency', n.currency, 'amount', n.amount) order by n.line) as lines
    from added n
    join ledger_accounts a on a.merchant_id = n.account_merchant_id and a.id = n.account_id
    group by n.merchant_id, n.entry_id
  ) l
  join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id;
  return null;
end $$;
comment on function ledger_lines_500_audit is 'One audit entry per posted entry, with its lines; fired by their insert, when all are there.';

create or replace function ledger_folds_200_closed() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.ledger_folds'::regclass then
    raise exception 'ledger_folds_200_closed guards postbox.ledger_folds and nothing else' using errcode = 'PB002';
  end if;
  if exists (
    select from ledger_folds
    where merchant_id = new.merchant_id and account_id = new.account_id and currency = new.currency and recorded_xid = new.recorded_xid
  ) then
    raise exception 'a transaction that posted to a merchant ends with ledger_close()'
      using errcode = 'check_violation', constraint = 'ledger_folds_are_closed';
  end if;
  return null;
end $$;
comment on function ledger_folds_200_closed is 'At COMMIT: what was posted to a merchant is in its balance, or nothing is committed.';

create or replace function provider_transactions_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.provider_transactions'::regclass then
    raise exception 'provider_transactions_700_event speaks for postbox.provider_transactions and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    perform emit_fact_event('fact.recorded', new);
    perform emit_child_money(new);
    return null;
  end if;
  if old.refund_id is null and old.dispute_id is null then
    perform emit_child_money(new);
  end if;
  if old.payment_id is null and new.payment_id is not null
     -- in another currency it says an amount of the payment's own only once its refund or dispute is known
     or (old.payment_id is not null and num_nonnulls(old.refund_id, old.dispute_id) = 0 and num_nonnulls(new.refund_id, new.dispute_id) = 1
         and exists (select from payments p where p.merchant_id = new.merchant_id and p.id = new.payment_id and p.currency <> new.currency)) then
    perform emit_fact_event('fact.matched', new);
  end if;
  if old.status = 'pending' and new.status = 'available' then
    perform emit_fact_event('fact.available', new);
  end if;
  if new.exchanged and not old.exchanged and new.payment_id is not null then
    perform reconcile_soon(new.merchant_id, new.payment_id);
  end if;
  return null;
end $$;
comment on function provider_transactions_700_event is 'A money line of the provider tells when it is stored, when it finds its payment, refund or dispute, when it is available.';

-- The payload is the fact as it was then, so that what is posted for it never depends on when.
create or replace function emit_fact_event(p_topic text, t provider_transactions) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into events (merchant_id, topic, payment_id, payload, correlation_id, causation_id)
  values (t.merchant_id, p_topic, t.payment_id,
    jsonb_build_object('provider', t.provider, 'account', t.account, 'ref', t.ref, 'kind', t.kind, 'currency', t.currency,
      'gross', t.gross, 'fee', t.fee, 'net', t.net, 'status', t.status, 'refund_id', t.refund_id, 'dispute_id', t.dispute_id),
    coalesce(t.payment_id::text, t.ref),
    nullif(current_setting('postbox.causation_id', true), ''))
$$;
comment on function emit_fact_event is 'One event about a money line as it is now; only definer triggers may call it.';

-- A refund's own line is the one that takes the money; what comes back of a failed one is told by its failure.
create or replace function emit_child_money(t provider_transactions) returns void
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  r refunds;
  d disputes;
begin
  if t.refund_id is not null and t.gross < 0 then
    select * into strict r from refunds where merchant_id = t.merchant_id and id = t.refund_id;
    perform emit_refund_event('refund.booked', r, r.state);
  elsif t.dispute_id is not null and t.gross <> 0 then
    select * into strict d from disputes where merchant_id = t.merchant_id and id = t.dispute_id;
    perform emit_dispute_event(
      case when t.gross < 0 then 'dispute.funds_withdrawn' else 'dispute.funds_reinstated' end, d, d.state,
      jsonb_build_object('provider', t.provider, 'account', t.account, 'ref', t.ref,
        'moved', case when t.currency = d.currency then abs(t.gross) else d.amount end));
  end if;
end $$;
comment on function emit_child_money is 'What a money line means for the refund or dispute it belongs to; only definer triggers may call it.';
