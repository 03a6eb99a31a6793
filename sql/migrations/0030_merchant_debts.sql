-- J11 of a merchant who owes us: what is not coming back is a loss, when two people agree.
alter table proposals
  -- squawk-ignore ban-drop-constraint
  drop constraint proposals_act_is_known,
  add constraint proposals_act_is_known check (act in ('adopt', 'discard', 'refund', 'write_off')) not valid;
