-- A payout that nobody itemises is a discrepancy as well: some days after it should have arrived nobody can say what it is made of.

update discrepancy_types set
  grace = '3 days',
  meaning = 'the lines of a payout are not its amount, or nobody has told them for days after it should have arrived'
where type = 'payout_mismatch';
