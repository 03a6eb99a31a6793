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

-- name: use_code
-- A code works once: no row when this step's, or a later one's, was used, or when what was proven is no longer asked for.
-- A hash by old parameters is replaced.
update operator_credentials c
set totp_step = %(step)s, password_hash = %(password_hash)s
from operators o
where c.operator_id = %(operator_id)s and c.totp_step < %(step)s and c.changed_at = %(changed_at)s and o.id = c.operator_id and o.disabled_at is null
returning o.name, o.role;

-- name: end_sign_in
-- The attempt was no failure.
select end_sign_in(%(name)s, %(address)s);

-- name: open_session
-- Signed in; what the browser holds is not stored.
insert into operator_sessions (token_hmac, operator_id, address) values (%(token_hmac)s, %(operator_id)s, %(address)s);

-- name: session
-- Who holds this token, if the session is open, was not idle for too long and is not too old.
select o.id, o.name, o.role, s.created_at, s.seen_at < clock_timestamp() - make_interval(secs => least(60, %(idle)s / 4)) as stale
from operator_sessions s
join operators o on o.id = s.operator_id
where s.token_hmac = %(token_hmac)s and s.ended_at is null and o.disabled_at is null
  and s.created_at > clock_timestamp() - make_interval(secs => %(longest)s)
  and s.seen_at > clock_timestamp() - make_interval(secs => %(idle)s);

-- name: touch_session
-- Seen now: written when the last time is stale, so once a minute.
update operator_sessions set seen_at = clock_timestamp() where token_hmac = %(token_hmac)s;

-- name: end_session
-- Signed out; no row when it was over already.
update operator_sessions set ended_at = clock_timestamp() where token_hmac = %(token_hmac)s and ended_at is null;

-- name: note_refused_sign_in
-- For the audit: somebody was refused, or has to wait.
select note_refused_sign_in(%(name)s, %(address)s, %(how)s);
