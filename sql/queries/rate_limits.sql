-- name: take
-- One token from the key's and from the merchant's bucket, or from none; no row for a key that is not good.
select scope, allowed, left_micro
from take_token(%(key_id)s, %(secret_hmac)s, %(class_)s, %(key_rate)s, %(key_burst)s, %(merchant_rate)s, %(merchant_burst)s,
                %(address)s);
