-- Who asked for a write-off and who approved it are people, as with everything else that takes two. Earlier rows hold the
-- names that were typed, so they are left as they are.

alter table discrepancies
  add constraint discrepancies_write_off_asked_by_an_operator
    foreign key (write_off_asked_by) references operators (name) on delete restrict not valid,
  add constraint discrepancies_write_off_approved_by_an_operator
    foreign key (approved_by) references operators (name) on delete restrict not valid;
