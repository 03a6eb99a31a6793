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

# Each of these takes minutes. They come first, so that no core is left with one when the other has done all else.
LONGEST = [
    "tests/e2e/test_fault_campaign.py",
    "tests/contract/test_fuzz.py",
    "tests/machine/test_money_machine.py",
    "tests/jobs/test_interleavings.py",
    "tests/jobs/test_money_interleavings.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all others in their own order."""
    places = {str(Path(ROOT, name)): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.lines",
    "tests.fixtures.sandbox",
    "tests.fixtures.worker",
    "tests.fixtures.shop",
]
