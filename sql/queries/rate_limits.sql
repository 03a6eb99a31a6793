-- name: take
-- One token from the key's bucket, and of what that allows one from the merchant's; no row for a key that is not good.
select scope, allowed, left_micro
from take_token(%(key_id)s, %(secret_hmac)s, %(class_)s, %(key_rate)s, %(key_burst)s, %(merchant_rate)s, %(merchant_burst)s,
                %(address)s);

-- name: take_of_operator
-- One token of whoever holds this session; no row when nobody does.
select allowed, left_micro from take_operator_token(%(token_hmac)s, %(class_)s, %(idle)s, %(longest)s, %(rate)s, %(burst)s);

-- name: take_of_address
-- One token of an address that wants to sign in.
select allowed, left_micro from take_sign_in_token(%(address)s, %(rate)s, %(burst)s);
