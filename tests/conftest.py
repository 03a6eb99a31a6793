"""Names the fixtures every test may use; each is defined in the module of tests/fixtures that is about it."""

import sys
from pathlib import Path

import pytest

# Plain `pytest` does not put the checkout on the path; `python -m pytest` and bin/test do.
ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# What tests share asserts too, and is to tell what it found as they do.
FOLDERS = [folder.name for folder in Path(__file__).parent.iterdir() if folder.is_dir()]
pytest.register_assert_rewrite(*(f"tests.{name}" for name in FOLDERS))

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.lines",
    "tests.fixtures.sandbox",
    "tests.fixtures.worker",
    "tests.fixtures.shop",
]
