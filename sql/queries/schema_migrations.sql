-- name: exists
-- Whether this database has ever been migrated.
select exists (select from pg_tables where schemaname = 'postbox' and tablename = 'schema_migrations');

-- name: recorded
-- Every file of sql/ this database has seen, and in which form.
select name, sha256 from postbox.schema_migrations;

-- name: record
-- Remember that a file was applied in this form.
insert into postbox.schema_migrations (name, sha256) values (%(name)s, %(sha256)s)
on conflict (name) do update set sha256 = excluded.sha256, applied_at = clock_timestamp();

-- name: invalid_index
-- An index that nothing is found by, because building or dropping it concurrently was cut short; no row when it is whole, or none.
select from pg_index where indexrelid = to_regclass(%(index)s) and not indisvalid;

-- name: invalid_indexes
-- Indexes of ours that nothing is found by, their tables, and whether it is only what a reindexing that was cut short left over.
select n.nspname, c.relname, t.relname, c.relname ~ '_cc(new|old)[0-9]*$' as is_left_over
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and c.relkind = 'i' and n.nspname in ('postbox', 'procrastinate')
order by is_left_over desc, n.nspname, c.relname;

-- name: forget
-- A migration may make or replace tables: these files are applied after it, also when it failed half way before.
delete from postbox.schema_migrations where name = any(%(names)s::text[]);

-- name: enter_epoch
-- A cluster this database has not lived in before is a new epoch.
insert into postbox.database_epochs (epoch, system_identifier)
select coalesce((select max(epoch) from postbox.database_epochs), 0) + 1, system_identifier::text
from pg_control_system()
on conflict (system_identifier) do nothing;

-- name: epoch
-- The epoch of the cluster this database lives in now.
select epoch from postbox.database_epochs where system_identifier = (select system_identifier::text from pg_control_system());

-- name: triggers_not_always
-- Guard triggers that session_replication_role could switch off; must be none.
select c.relname || '.' || t.tgname
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'postbox'::regnamespace and not t.tgisinternal and t.tgenabled <> 'A';

-- name: tenant_tables_without_wall
-- Tables with a merchant_id, and merchants, whose rows are not walled off from other merchants' requests; must be none.
select c.relname
from pg_class c
where c.relnamespace = 'postbox'::regnamespace and c.relkind in ('r', 'p')
  and (c.relname = 'merchants'
       or exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'merchant_id' and not a.attisdropped))
  and not (c.relrowsecurity
           and exists (select from pg_policy q where q.polrelid = c.oid and q.polroles @> array['postbox_api'::regrole::oid]))
order by c.relname;

-- name: notifying_triggers
-- Procrastinate's insert trigger, if it is enabled; must be none.
select tgname from pg_trigger
where tgrelid = 'procrastinate.procrastinate_jobs'::regclass
  and tgname = 'procrastinate_jobs_notify_queue_job_inserted_v1' and tgenabled <> 'D';

-- name: close_database
-- Rights on the database are no part of a dump: after a restore PUBLIC could make temporary tables again.
do $$
begin
  execute format('revoke temporary, create on database %I from public', current_database());
end $$;

-- name: what_a_login_may_be
-- Every role that a login can act as, by SET ROLE or by what it inherits, and `superuser` when it is one.
with recursive reach as (
  select oid from pg_roles where rolname = %(login)s
  union
  select m.roleid from pg_auth_members m join reach r on m.member = r.oid where m.set_option or m.inherit_option
)
select rolname from pg_roles join reach using (oid) where rolname <> %(login)s
union all
select 'superuser' from pg_roles join reach using (oid) where rolsuper
union all
select 'bypassrls' from pg_roles join reach using (oid) where rolbypassrls and not rolsuper;
