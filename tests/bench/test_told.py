"""What of a run is told to others: the newest of every ratio, the README's table and plot, the page."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from tests.bench import machine
from tests.bench.command import bench
from tests.bench.latest import merged, ratios
from tests.bench.machine import TOLD
from tests.bench.page import page
from tests.bench.promised import PROMISED, assert_told
from tests.bench.readme import ALSO, BEGIN, END, section, write

# What a machine is described by, beside its settings.
DESCRIBED = ("cores", "cpu", "memory_gb", "load_before", "postgresql", "python", "procrastinate", "psycopg")


@pytest.fixture
def latest() -> dict[str, Any]:
    """What was found before: every aim reached but two, one promise not measured."""
    measured = {one.key: one.aim for one in PROMISED} | {"ack_p99_ms": 26, "web_mb": 121}
    del measured["growth_trace"]
    rates = {"unit": "deliveries/s", "median": 400.0, "lowest": 300.0, "highest": 500.0}
    results = {
        name: {"payments": 10**6, "note": "", "checked": "clean", "variants": []}
        | {"ratios": {one.key: measured[one.key] for one in PROMISED if name in one.by and one.key in measured}}
        for name in dict.fromkeys(name for one in PROMISED for name in one.by)
    }
    results["peers"]["variants"] = [rates | {"name": "ours"}, rates | {"name": "stock & co"}]
    return merged({}, _run(results))


def _run(results: dict[str, Any], commit: str = "abc1234") -> dict[str, Any]:
    described = {"commit": commit, "at": "today"} | dict.fromkeys(DESCRIBED, "some")
    described |= {"settings": dict.fromkeys(TOLD, "on")}
    return {"command": "bin/bench", "machine": described, "results": results, "failed": {}}


def test_the_readme_tells_every_promise_and_which_is_missed(latest: dict[str, Any]) -> None:
    rows = [row for row in section(latest).split("| and nobody promised")[0].splitlines() if "|" in row]
    assert len(rows) == 2 + len(PROMISED)
    told = {one.what: next(row for row in rows if row.startswith(f"| {one.what} |")) for one in PROMISED}
    missed = [what for what, row in told.items() if "missed" in row]
    assert missed == ["webhook acknowledgement, p99 at 200/s, ms", "memory of one web process, MB"]
    assert [what for what, row in told.items() if "not measured" in row] == [
        "trace in a large database against a small one, both from the disk"
    ]
    assert all("at abc1234 |" in row for row in told.values() if "not measured" not in row)


def test_the_readme_tells_what_nobody_promised_and_what_of_it_was_not_measured(latest: dict[str, Any]) -> None:
    latest["runs"]["backlog_trace"] = {"value": 0.9, "bench": "backlog", "payments": 10, "commit": "abc1234"}
    rows = section(latest).split("| and nobody promised")[1].splitlines()[2:]
    told = dict(zip(ALSO, rows, strict=False))
    assert told.pop("backlog_trace") == "| trace there | 0.9 | `backlog` of 10 at abc1234 |"
    assert list(told.values()) == [f"| {ALSO[key]} | not measured | |" for key in told]


def test_a_promise_about_a_large_database_is_not_measured_in_a_small_one() -> None:
    small = {"growth": {"payments": 20_000, "ratios": {"trace_p95_ms": 1.0, "backlog_accept": 1.0}}}
    assert set(merged({}, _run(small))["ratios"]) == {"backlog_accept"}


def test_each_ratio_says_which_run_it_comes_from_and_of_two_the_worse_counts() -> None:
    accept, webhook = ({"payments": 10, "ratios": {"web_mb": megabytes}} for megabytes in (90, 80))
    known = merged({}, _run({"accept": accept, "webhook": webhook}, "older"))
    newer = merged(known, _run({"webhook": webhook | {"ratios": {"web_mb": 85}}}, "newer"))
    assert newer["runs"]["web_mb"] | {"command": ""} == {
        "value": 90, "bench": "accept", "payments": 10, "commit": "older", "at": "today", "command": "",
    }  # fmt: skip
    assert merged(newer, _run({"accept": accept | {"ratios": {}}}))["runs"]["web_mb"]["commit"] == "newer"


def test_a_benchmark_that_failed_has_no_figures_of_before() -> None:
    known = merged({}, _run({"accept": {"payments": 10, "ratios": {"accept_vs_pgbench": 0.6}}}))
    assert merged(known, _run({}) | {"failed": {"accept": "TimeoutError: no answer"}})["ratios"] == {}


def test_figures_of_code_that_is_in_no_commit_are_not_the_readmes(
    latest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest["results"]["growth"]["commit"] = "abc1234-dirty"
    readme = tmp_path / "README.md"
    readme.write_text(told := f"before\n{BEGIN}\nan older table\n{END}\nafter\n")
    with pytest.raises(SystemExit, match=r"README\.md stays as it is, because growth ran on code"):
        write(latest, readme, tmp_path / "bench.svg")
    assert readme.read_text() == told
    monkeypatch.setattr(machine, "commit", lambda: "abc1234-dirty")
    refused = CliRunner().invoke(bench, ["growth", "--readme"])
    assert refused.exit_code == 2 and "commit first" in refused.output, "before it takes an hour"


def test_what_a_run_writes_itself_changes_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("a table")
    (tmp_path / "app.py").write_text("pass")
    for argv in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *argv], cwd=tmp_path, check=True)
    (tmp_path / "README.md").write_text("another table")
    assert not machine.commit().endswith("-dirty")
    (tmp_path / "app.py").write_text("raise")
    assert machine.commit().endswith("-dirty")


def test_a_ratio_has_one_owner() -> None:
    with pytest.raises(AssertionError, match="trace_p95_ms is measured by"):
        merged({}, _run({"trace": {"payments": 10**6, "ratios": {"trace_p95_ms": 1.0}}}))
    with pytest.raises(AssertionError, match="webhook tells no limits of web_mb"):
        assert_told("webhook", {"ratios": {"webhook_vs_pgbench": 1, "ack_p99_ms": 1, "web_mb": 1},
                                "limits": {"webhook_vs_pgbench": "", "ack_p99_ms": ""}})  # fmt: skip


def test_a_ratio_that_was_not_promised_belongs_to_the_benchmark_that_measured_it_last() -> None:
    known = merged({}, _run({"growth": {"payments": 10, "ratios": {"snapshot_accept": 0.4, "backlog_accept": 1.0}}}))
    newer = merged(known, _run({"snapshot": {"payments": 10, "ratios": {"snapshot_accept": 0.9}}}))
    assert newer["ratios"] == {"snapshot_accept": 0.9, "backlog_accept": 1.0}


def test_the_table_stands_between_its_marks_and_the_plot_beside_it(latest: dict[str, Any], tmp_path: Path) -> None:
    readme, plot = tmp_path / "README.md", tmp_path / "bench.svg"
    readme.write_text(f"before\n{BEGIN}\nan older table\n{END}\nafter\n")
    write(latest, readme, plot)
    assert readme.read_text() == f"before\n{BEGIN}\n{section(latest)}\n{END}\nafter\n"
    drawn = [text.text for text in ElementTree.parse(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert drawn == ["peers, ours", "400", "peers, stock & co", "400"]


def test_where_an_aim_is_out_of_reach_the_page_says_what_the_limit_is(latest: dict[str, Any]) -> None:
    accept, webhook, growth = (latest["results"][name] for name in ("accept", "webhook", "growth"))
    accept["limits"] = {"web_mb": "imports alone take 80 MB"}
    webhook["ratios"]["web_mb"], webhook["limits"] = 100, {"web_mb": "those of a smaller one"}
    growth["limits"] = {"growth_accept": "of no interest"}
    told = page(latest | {"command": "bin/bench", "failed": {}, "ratios": ratios(latest["results"])}, "a machine")
    assert "imports alone take 80 MB" in told, "121 MB are more than the 90 that were aimed at"
    assert "a smaller one" not in told, "of two that measured it the worse counts, here as in latest.json"
    assert "of no interest" not in told, "the aim was reached"
