"""The PostgreSQL of the tests lies in memory where there is enough of it, and stays where it once is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import cluster
from tests.fixtures.cluster import choose_place


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "memory"
    found.mkdir()
    monkeypatch.setattr(cluster, "MEMORY", found)
    monkeypatch.setattr(cluster, "ENOUGH_BYTES", 1)
    return found


def test_it_is_a_directory_in_memory_and_the_same_one_for_the_next(memory: Path, tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    choose_place(place)
    first = place.resolve()
    assert first.parent == memory
    choose_place(place)
    assert place.resolve() == first


def test_what_a_reboot_has_emptied_is_made_anew(memory: Path, tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    place.symlink_to(memory / "before")
    choose_place(place)
    assert place.resolve().parent == memory and place.is_dir()


def test_one_that_is_on_the_disk_stays_there(memory: Path, tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    place.mkdir()
    choose_place(place)
    assert not place.is_symlink() and list(memory.iterdir()) == []


@pytest.mark.parametrize("lacking", ["room", "memory"])
def test_without_enough_of_it_nothing_is_chosen(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "room":
        monkeypatch.setattr(cluster, "ENOUGH_BYTES", 10**15)
    else:
        memory.rmdir()
    choose_place(tmp_path / "postgres")
    assert not (tmp_path / "postgres").is_symlink()
