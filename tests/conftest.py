"""Names the fixtures every test may use; each is defined in the module of tests/fixtures that is about it."""

import sys
from pathlib import Path

# Plain `pytest` does not put the checkout on the path; `python -m pytest` and bin/test do.
ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.lines",
    "tests.fixtures.sandbox",
    "tests.fixtures.worker",
    "tests.fixtures.shop",
]
