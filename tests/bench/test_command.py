"""What a run of the command writes and what it refuses, with benchmarks that measure nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.bench import command
from tests.bench.command import BENCHES, bench
from tests.bench.machine import TOLD
from tests.bench.promised import PROMISED
from tests.bench.test_told import DESCRIBED

# By these every promise is measured.
OWNERS = {one.by[0] for one in PROMISED}
MACHINE = dict.fromkeys(DESCRIBED, "some") | {"commit": "abc1234", "at": "today", "settings": dict.fromkeys(TOLD, "on")}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was written into the README; no server is started, and every benchmark finds what was aimed at."""
    told: list[dict[str, Any]] = []

    @contextmanager
    def arena(**_: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(checks=[], checked=lambda: "clean")

    monkeypatch.setattr(command, "arena", arena)
    monkeypatch.setattr(command, "_describe", lambda here: dict(MACHINE))
    monkeypatch.setattr(command.machine, "commit", lambda: MACHINE["commit"])
    monkeypatch.setattr(command, "write_readme", told.append)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    for name, (_, usual) in BENCHES.items():
        monkeypatch.setitem(BENCHES, name, (finds(name), usual))
    return told


def finds(name: str) -> command.Measure:
    own = {one.key: one.aim for one in PROMISED if name in one.by}

    def measure(here: Any, payments: int, **_: Any) -> dict[str, Any]:
        limits = dict.fromkeys(own, "")
        return {"payments": payments, "note": "", "variants": [], "ratios": own, "limits": limits}

    return measure


def fails(here: Any, **_: Any) -> dict[str, Any]:
    raise TimeoutError("no answer")


def run(to: Path, *args: str) -> Result:
    return CliRunner().invoke(bench, [*args, f"--json={to / 'run.json'}"])


@pytest.mark.parametrize("few", ["--payments=10", "--time-scale=0.1", "--snapshot-age=1", "--sizes=10,20"])
def test_a_try_is_no_figure_of_the_readme(written: list[dict[str, Any]], tmp_path: Path, few: str) -> None:
    refused = run(tmp_path, "growth", few, "--readme")
    assert refused.exit_code == 2 and "The README tells no figures of a try" in refused.output
    assert not written and not list(tmp_path.iterdir()), "it was refused before anything was measured"


def test_the_readme_is_written_once_every_row_is_measured_and_not_before(
    written: list[dict[str, Any]], tmp_path: Path
) -> None:
    others = sorted(OWNERS - {"growth"})
    refused = run(tmp_path, *others, "--readme")
    assert refused.exit_code == 1 and not written
    missing = [one.key for one in PROMISED if one.by == ("growth",)]
    assert f"README.md stays as it is, because nothing has measured {', '.join(missing)}" in refused.output
    assert run(tmp_path, "growth", "--readme").exit_code == 0
    assert [set(latest["runs"]) for latest in written] == [{one.key for one in PROMISED}]


def test_a_benchmark_that_fails_loses_its_figures_of_before_and_the_others_keep_theirs(
    written: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "growth", "webhook")
    monkeypatch.setitem(BENCHES, "webhook", (fails, 4_000))
    ended = run(tmp_path, "webhook")
    assert ended.exit_code == 1 and "failed: webhook" in ended.output
    assert set(json.loads((tmp_path / "latest.json").read_text())["results"]) == {"growth"}
    assert json.loads((tmp_path / "run.json").read_text())["failed"] == {"webhook": "TimeoutError: no answer"}
