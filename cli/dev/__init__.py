"""Everything `bin/run` needs on a bare machine: a PostgreSQL of its own, a supervisor, a demo."""
