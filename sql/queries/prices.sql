-- name: of_providers
-- What providers have agreed to charge us.
select x.*, c.exponent from provider_prices x join currencies c on c.code = x.currency
order by x.provider, x.account, x.method, x.currency;

-- name: set_provider
-- What a provider charges us from now on; how many payments are compared with it anew.
select set_provider_price(%(provider)s, %(account)s, %(method)s, %(currency)s, %(bps)s, %(fixed)s, %(reason)s) as compared;

-- name: schedules
-- Every version of what we charge merchants, newest first, and how many merchants pay by its name.
select f.id, f.name, f.version, f.bps, f.dispute_fee_bps, f.dispute_fee_returned, f.effective_at,
       coalesce((select jsonb_object_agg(x.currency, x.amount order by x.currency) from fee_schedule_fixed x where x.fee_schedule = f.id), '{}')
         as fixed,
       (select count(*) from merchants m where m.fee_schedule = f.name) as merchants
from fee_schedules f
order by f.name, f.version desc;

-- name: add_version
-- The next version of a schedule, in force at once for payments made from now on.
insert into fee_schedules (name, version, bps, dispute_fee_bps, dispute_fee_returned)
select %(name)s, coalesce(max(version), 0) + 1, %(bps)s, %(dispute_fee_bps)s, %(dispute_fee_returned)s
from fee_schedules where name = %(name)s
returning id, name, version, bps, dispute_fee_bps, dispute_fee_returned, effective_at;

-- name: add_fixed
-- The fixed part of a version in one currency, in minor units.
insert into fee_schedule_fixed (fee_schedule, currency, amount) values (%(schedule)s, %(currency)s, %(amount)s);

-- name: assign
-- What this merchant's new payments are charged by; no row when there is no such merchant.
update merchants set fee_schedule = %(name)s where id = %(merchant_id)s and id <> '00000000-0000-0000-0000-000000000000'
returning id, name, fee_schedule;
