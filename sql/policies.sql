-- The second wall between tenants: row level security on every tenant table, a policy per role that may touch it.
-- The first wall is the merchant in every query's own WHERE. A new tenant table gets its policies by a line here.
-- ENABLE and not FORCE: the owner is not bound, so that definer triggers may write what their caller may not see.
-- postbox_compliance has no policy: it sees the reports, which are the owner's views, and no table.

do $$
declare
  tenant_tables constant text[] := array[
    'access_log',
    'api_key_uses',
    'api_keys',
    'audit_log',
    'awaited_webhooks',
    'circuits',
    'deliveries',
    'delivery_failures',
    'discrepancies',
    'disputes',
    'events',
    'idempotency_keys',
    'ledger_accounts',
    'ledger_balances',
    'ledger_entries',
    'ledger_folds',
    'ledger_lines',
    'merchant_payouts',
    'merchants',
    'operation_attempts',
    'operations',
    'payments',
    'payouts',
    'provider_accounts',
    'provider_calls',
    'proposals',
    'provider_transactions',
    'rate_limits',
    'reconcile_due',
    'reconciliation_runs',
    'refunds',
    'webhook_rejections',
    'webhooks'
  ];
  wanted record;
  foreign_policy record;
begin
  for wanted in
    select t.name::regclass as tenant_table, p.name, p.role,
           case when p.role <> 'postbox_api' then 'true'
                else format('(%s = ( select acting_merchant() as acting_merchant))',
                            case t.name when 'merchants' then 'id' else 'merchant_id' end) end as own
    from unnest(tenant_tables) t (name)
    cross join (values ('api_acts_for_one_merchant', 'postbox_api'),
                       ('worker_acts_for_all', 'postbox_worker'),
                       ('operator_acts_for_all', 'postbox_operator')) p (name, role)
  loop
    -- what is already so is left alone: a policy takes the table from everybody while it is made
    continue when exists (
      select from pg_policy q
      where q.polrelid = wanted.tenant_table and q.polname = wanted.name and q.polcmd = '*' and q.polpermissive
        and q.polroles = array[wanted.role::regrole::oid]
        and lower(pg_get_expr(q.polqual, q.polrelid)) = wanted.own
        and lower(pg_get_expr(q.polwithcheck, q.polrelid)) = wanted.own);
    execute format('drop policy if exists %I on %s', wanted.name, wanted.tenant_table);
    execute format('create policy %I on %s for all to %I using (%s) with check (%s)',
                   wanted.name, wanted.tenant_table, wanted.role, wanted.own, wanted.own);
  end loop;

  for foreign_policy in
    select q.polrelid::regclass as on_table, q.polname as name
    from pg_policy q join pg_class c on c.oid = q.polrelid
    where c.relnamespace = 'postbox'::regnamespace
      and (q.polname not in ('api_acts_for_one_merchant', 'worker_acts_for_all', 'operator_acts_for_all')
           or c.relname <> all (tenant_tables))
  loop
    execute format('drop policy %I on %s', foreign_policy.name, foreign_policy.on_table);
  end loop;

  for wanted in
    select t.name::regclass as tenant_table from unnest(tenant_tables) t (name)
    join pg_class c on c.oid = t.name::regclass and not c.relrowsecurity
  loop
    execute format('alter table %s enable row level security', wanted.tenant_table);
  end loop;
end $$;
