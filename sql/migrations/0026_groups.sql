-- What the triggers of a group say about all rows of its statement at once.

create type audit_change as (
  merchant_id uuid,
  action text,
  entity_type text,
  entity_id text,
  payment_id uuid,
  payment_version bigint,
  body jsonb,
  causation_id text
);
comment on type audit_change is 'One change to be audited: what audit_write_all cannot know by itself.';
