-- The one way into the audit log. Owned by postbox_owner and executable by no runtime role: only definer triggers call it.
create or replace function audit_write(
  p_merchant_id uuid, p_action text, p_entity_type text, p_entity_id text,
  p_payment_id uuid, p_payment_version bigint, p_body jsonb, p_payload_sha256 text default null, p_reason text default null
) returns void
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  entry audit_log;
begin
  entry.merchant_id := p_merchant_id;
  entry.id := uuidv7();
  entry.epoch := current_epoch();
  entry.recorded_xid := pg_current_xact_id();
  entry.recorded_at := clock_timestamp();
  entry.actor_type := acting_type();
  entry.actor_id := current_setting('postbox.actor_id', true);
  entry.on_behalf_of := nullif(current_setting('postbox.on_behalf_of', true), '');
  entry.db_role := acting_role();
  entry.reason := coalesce(p_reason, nullif(current_setting('postbox.reason', true), ''));
  entry.action := p_action;
  entry.entity_type := p_entity_type;
  entry.entity_id := p_entity_id;
  entry.payment_id := p_payment_id;
  entry.payment_version := p_payment_version;
  entry.request_id := nullif(current_setting('postbox.request_id', true), '');
  -- the thread of a payment is the payment itself, whoever writes; the request or event that did is the causation
  entry.correlation_id := coalesce(p_payment_id::text, nullif(current_setting('postbox.correlation_id', true), ''));
  entry.causation_id := nullif(current_setting('postbox.causation_id', true), '');
  entry.body := p_body::text;
  entry.payload_sha256 := p_payload_sha256;
  entry.row_sha256 := audit_row_sha256(entry);
  insert into audit_log select entry.*;
end $$;
comment on function audit_write is 'Appends one audit entry under the transaction''s actor, hashed over its stored text.';

-- The hash covers every stored column, with times as UTC microseconds so that no session setting changes it.
-- Its names are bound when it is made, so that it needs no search_path and is taken into the statement that asks for it: a
-- check of every entry there is runs in parallel.
create or replace function audit_row_sha256(entry audit_log) returns bytea
  language sql stable parallel safe
  return sha256(convert_to(jsonb_build_array(
    entry.merchant_id, entry.id, entry.epoch, entry.recorded_xid::text,
    (extract(epoch from entry.recorded_at) * 1000000)::bigint,
    entry.actor_type, entry.actor_id, entry.on_behalf_of, entry.db_role, entry.reason,
    entry.action, entry.entity_type, entry.entity_id, entry.payment_id, entry.payment_version,
    entry.request_id, entry.correlation_id, entry.causation_id, entry.body, entry.payload_sha256)::text, 'UTF8'));
comment on function audit_row_sha256 is 'SHA-256 over every column of an audit entry as stored; recomputing it finds an edited row.';

-- The columns that differ between two rows of one table, as {"before": {...}, "after": {...}}. Both have the same keys,
-- and jsonb keeps keys in one order, so the pairs are read side by side: a lookup per column costs twice as much.
create or replace function changed_columns(p_before jsonb, p_after jsonb) returns jsonb
  language sql immutable parallel safe
as $$
  select jsonb_build_object(
    'before', coalesce(jsonb_object_agg(c.key, c.was), '{}'),
    'after', coalesce(jsonb_object_agg(c.key, c.value), '{}'))
  from rows from (jsonb_each(p_before), jsonb_each(p_after)) as c (old_key, was, key, value)
  where c.value is distinct from c.was
$$;
comment on function changed_columns is 'What an update changed, both ways.';
