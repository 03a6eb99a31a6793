-- Who among the operators looked at whose rows.
drop view if exists report_v1.access_log;
create view report_v1.access_log with (security_barrier = true) as
select a.seen_at, a.operator, a.role, host(a.address) as address, a.route, a.entity, a.merchant_id, a.result,
  a.row_count, a.request_id
from access_log a;

comment on view report_v1.access_log is 'One row per request of an operator that reads, and per merchant whose rows it showed.';
comment on column report_v1.access_log.seen_at is 'When.';
comment on column report_v1.access_log.operator is 'Who, by the name that the audit knows.';
comment on column report_v1.access_log.role is 'In which role.';
comment on column report_v1.access_log.address is 'From where.';
comment on column report_v1.access_log.route is 'What was asked, as a template.';
comment on column report_v1.access_log.entity is 'About what: the identifier that was put into the route or searched for.';
comment on column report_v1.access_log.merchant_id is 'Whose rows were shown; the platform where they were nobody''s.';
comment on column report_v1.access_log.result is 'ok, or why nothing was shown.';
comment on column report_v1.access_log.row_count is 'How many of this merchant''s rows.';
comment on column report_v1.access_log.request_id is 'The request, as the logs know it.';
