-- name: expire
-- Whose time is over: nobody may decide about it any more.
update proposals set status = 'expired'
where merchant_id = %(merchant_id)s and act = %(act)s and parameters_sha256 = %(parameters_sha256)s
  and status = 'open' and expires_at <= clock_timestamp();

-- name: propose
-- What somebody wants done; no row when the same is proposed already.
insert into proposals (merchant_id, act, payment_id, parameters, parameters_sha256, proposed_by, reason, expires_at)
values (%(merchant_id)s, %(act)s, %(payment_id)s, %(parameters)s, %(parameters_sha256)s, %(by)s, %(reason)s,
        clock_timestamp() + make_interval(secs => %(window)s))
on conflict (merchant_id, act, parameters_sha256) where status = 'open' do nothing
returning merchant_id, id, act, status, payment_id, parameters, proposed_by, reason, decided_by, decision_reason,
          proposed_at, expires_at, decided_at;

-- name: lock
-- One proposal, held until it is decided.
select merchant_id, id, act, status, payment_id, parameters, parameters_sha256, proposed_by, reason, expires_at,
       expires_at <= clock_timestamp() as is_late
from proposals where id = %(proposal_id)s for no key update;

-- name: decide
-- Approved or rejected, by whom and why.
update proposals set status = %(status)s, decided_by = %(by)s, decision_reason = %(reason)s
where merchant_id = %(merchant_id)s and id = %(proposal_id)s
returning merchant_id, id, act, status, payment_id, parameters, proposed_by, reason, decided_by, decision_reason,
          proposed_at, expires_at, decided_at;

-- name: page
-- Proposals, newest first; an open one whose time is over is shown as expired.
select merchant_id, id, act, case when status = 'open' and expires_at <= clock_timestamp() then 'expired' else status end as status,
       payment_id, parameters, proposed_by, reason, decided_by, decision_reason, proposed_at, expires_at, decided_at
from proposals
where (%(open)s is not true or (status = 'open' and expires_at > clock_timestamp()))
  and (%(before_at)s::timestamptz is null or (proposed_at, id) < (%(before_at)s, %(before_id)s::uuid))
order by proposed_at desc, id desc
limit %(limit)s;

-- name: get
-- One proposal; an open one whose time is over is shown as expired.
select merchant_id, id, act, case when status = 'open' and expires_at <= clock_timestamp() then 'expired' else status end as status,
       payment_id, parameters, proposed_by, reason, decided_by, decision_reason, proposed_at, expires_at, decided_at
from proposals where id = %(proposal_id)s;
