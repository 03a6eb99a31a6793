-- What an operation may say of itself, whoever writes it. Not validated: older rows were written by the product's own code.

alter table operations
  add constraint operations_step_is_of_its_kind check (
    step = kind or kind = 'submit' and step in ('create', 'confirm')) not valid,
  add constraint operations_amount_iff_part_of_the_payment check ((kind in ('capture', 'refund')) = (amount is not null)) not valid;
