-- name: record
-- Audit an operator's act that is no row change of a payment, under the transaction's actor.
select record_act(%(merchant_id)s, %(action)s, %(entity_type)s, %(entity_id)s, %(payment_id)s, %(body)s, %(reason)s);
