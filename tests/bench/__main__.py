"""`python -m tests.bench`, which is `bin/bench`."""

from tests.bench.command import bench

bench(prog_name="bin/bench")
