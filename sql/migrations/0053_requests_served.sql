-- Workers rest while somebody is served, and see it here at once; a crash may forget it.
create unlogged sequence requests_served;
comment on sequence requests_served is
  'Counts the requests that the API serves: each that takes a token, each webhook that comes. What it says is that it moved.';
