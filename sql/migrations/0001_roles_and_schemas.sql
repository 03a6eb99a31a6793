-- postbox: as-login
-- Roles, schemas and the privileges nobody may have. Runs as the migration login; everything after runs as postbox_owner.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['postbox_owner', 'postbox_api', 'postbox_worker', 'postbox_operator', 'postbox_compliance'] loop
    begin
      execute format('create role %I nologin noinherit', wanted);
    exception when duplicate_object or unique_violation then null; -- roles are the cluster's: another database made it
    end;
  end loop;
end $$;

-- The migration login may become the owner and nothing else of the owner's leaks to it.
grant postbox_owner to current_user with inherit false, set true;

create schema postbox authorization postbox_owner;
create schema procrastinate authorization postbox_owner;
create schema report_v1 authorization postbox_owner;

do $$
begin
  execute format('revoke temporary, create on database %I from public', current_database());
end $$;

-- A login that is no superuser inherits nothing of the owner's, so what is the owner's is done as the owner.
set local role postbox_owner;

-- Without this, any role could hang a definer trigger function on a table of its own and forge events.
alter default privileges revoke execute on functions from public;

create table postbox.schema_migrations (
  name text primary key,
  sha256 text not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table postbox.schema_migrations is 'Every file of sql/ that was applied here, and in which form.';
