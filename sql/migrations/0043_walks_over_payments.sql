-- Payments are walked over as deliveries are.

-- no code maps this name
-- squawk-ignore renaming-object
alter table sweeps rename constraint sweeps_walked_to_is_a_delivery to sweeps_walked_to_is_a_key;
comment on column sweeps.walked_to is
  'Of a sweep that walks: the three columns of the last row seen, in the order of its index; null begins anew.';
