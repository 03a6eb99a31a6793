-- name: create
-- A new person; no row when the name is taken.
insert into operators (name, role) values (%(name)s, %(role)s) on conflict do nothing
returning id, name, role, created_at, disabled_at;

-- name: named
-- One person.
select id, name, role, created_at, disabled_at from operators where name = %(name)s;

-- name: all
-- Everybody, with when they were seen last.
select o.name, o.role, o.created_at, o.disabled_at,
       (select max(s.seen_at) from operator_sessions s where s.operator_id = o.id) as seen_at
from operators o order by o.name;

-- name: disable
-- A person leaves; no row when they are gone already.
update operators set disabled_at = clock_timestamp() where name = %(name)s and disabled_at is null
returning id, name, role, created_at, disabled_at;

-- name: enroll
-- How a new person proves who they are.
insert into operator_credentials (operator_id, password_hash, totp_secret)
values (%(operator_id)s, %(password_hash)s, %(totp_secret)s);

-- name: reset
-- Another password and another second factor; the codes of the old one are worth nothing.
update operator_credentials
set password_hash = %(password_hash)s, totp_secret = %(totp_secret)s, totp_step = 0, changed_at = clock_timestamp()
where operator_id = %(operator_id)s;

-- name: end_sessions
-- Whoever is signed in as this person no longer is.
update operator_sessions set ended_at = clock_timestamp() where operator_id = %(operator_id)s and ended_at is null;

-- name: begin_sign_in
-- Count an attempt, and say what the person must prove.
select wait, operator_id, password_hash, totp_secret, changed_at from begin_sign_in(%(name)s, %(address)s);

-- name: open_session
-- Signed in; what the browser holds is not stored. No row when the code was used, or what was proven is no longer asked for.
select name, role
from open_session(%(operator_id)s, %(step)s, %(password_hash)s, %(changed_at)s, %(address)s, %(token_hmac)s);

-- name: enter_session
-- Who holds this token, for whom the transaction acts from here on; no row when nobody is signed in with it.
select id, name, role from enter_session(%(token_hmac)s, %(idle)s, %(longest)s);

-- name: prolong_session
-- Whoever is signed in with this token was answered.
select prolong_session(%(token_hmac)s, %(idle)s);

-- name: end_session
-- Signed out.
select end_session(%(token_hmac)s);

-- name: note_refused_sign_in
-- For the audit: somebody was refused, or has to wait.
select note_refused_sign_in(%(name)s, %(address)s, %(how)s);
