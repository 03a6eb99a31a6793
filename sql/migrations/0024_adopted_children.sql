-- A payment that is adopted owes its merchant's books what its refunds and disputes did before, when it was over.
insert into subscriptions (topic, handler, lane) values ('payment.adopted', 'post_children', 'local');

-- What was adopted before is owed to the new handler too; UNIQUE sources make a second posting harmless.
insert into deliveries (merchant_id, event_id, handler, topic, lane, payment_id)
select merchant_id, id, 'post_children', topic, 'local', payment_id from events where topic = 'payment.adopted';
