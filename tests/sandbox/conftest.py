"""Owns the fixtures: one sandbox shared by tests that only add payments, a fresh one for the others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.process import Receiver, Sandbox


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server for tests that make their own payments; its durations never pass by themselves."""
    sandbox = Sandbox(
        tmp_path_factory.mktemp("sandbox") / "ledger.jsonl",
        *("--balance-after", "600", "--available-after", "86400", "--bank-after", "86400"),
    )
    yield sandbox
    sandbox.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """Start servers of one's own; all use the same ledger file."""
    started: list[Sandbox] = []

    def begin(*options: str) -> Sandbox:
        started.append(Sandbox(tmp_path / "ledger.jsonl", *options))
        return started[-1]

    yield begin
    for sandbox in started:
        sandbox.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.stop()
