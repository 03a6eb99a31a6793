"""The README's table and plot, from the newest value of every ratio: what was promised, what was hoped for, what is."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from app.config import ROOT
from tests.bench.machine import DIRTY
from tests.bench.promised import PROMISED, Promise

README = ROOT / "README.md"
PLOT = ROOT / "docs" / "bench.svg"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

# Which variants the plot shows: everything that delivers.
PLOTTED = ("peers", "deliver")
# Whose figures stand beside the ratios.
TOLD = ("accept", "webhook", "e2e")
# Ratios that nobody promised, and that whoever chooses wants to know.
ALSO = {
    "deliver_one_by_one_vs_best_peer": "deliveries/s against the best peer, by a handler that is run one by one",
    "webhook_vs_pgbench_grouped": "webhooks/s against pgbench with as many in a transaction as the gateway takes",
    "e2e_vs_stock": "payments/s from POST to confirmed against stock Procrastinate's workers",
    "e2e_vs_synchronous": "the same against one request that does everything",
    "e2e_vs_synchronous_slow": "the same where each call of the provider takes 0.3 s",
    "growth_trace_again": "trace among a million payments against ten thousand, both from memory",
    "growth_trace_as_it_comes": "the same as it comes, where only the small database is in memory",
    "backlog_accept": "accept while a million deliveries are pending, against 50,000",
    "backlog_deliver": "deliver there",
    "backlog_trace": "trace there",
    "snapshot_accept": "accept beside a snapshot that has been open for an hour, against none",
    "snapshot_deliver": "deliver there",
    "snapshot_trace": "trace there",
    "api_p99_ms": "the API's p99 without a drain, ms",
    "api_p99_first_beside_a_drain_ms": "the API's p99 in the first second beside a drain, ms",
    "flight_calls": "provider calls that one worker had in flight, at most",
    "flight_few_mb": "memory of that worker with a few calls in flight, MB",
    "flight_mb": "the same with as many as there were at most, MB",
    "single_start_p95_ms": "commit of a single event to the start of its handler, idle, p95, ms",
}
WIDTH, LABEL, BAR = 860, 430, 24


def write(latest: dict[str, Any], readme: Path = README, plot_to: Path = PLOT) -> None:
    """Put the table between its marks in the README, and the plot beside it; nothing of code that is in no commit."""
    dirty = [name for name, result in latest["results"].items() if result["commit"].endswith(DIRTY)]
    if dirty:
        raise SystemExit(f"README.md stays as it is, because {', '.join(dirty)} ran on code that is in no commit")
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"the README holds {BEGIN} and {END}"
    readme.write_text(f"{before}{BEGIN}\n{section(latest)}\n{END}{after}")
    plot_to.write_text(plot(latest))


def section(latest: dict[str, Any]) -> str:
    """A row for each promise and the run it comes from, and on which machine that was; what has no run says so."""
    results, runs = latest["results"], latest["runs"]
    return "\n".join(
        [
            *_measured(results),
            "| what | at least | aim | measured | by |",
            "|---|---|---|---|---|",
            *(_row(one, runs.get(one.key)) for one in PROMISED),
            "",
            *_also(runs),
            *_others(results),
            "![Deliveries per second](docs/bench.svg)",
            "",
            *(f"`postbox check` of {', '.join(names)}: {how}." for how, names in _checked(results).items()),
        ]
    )


def _measured(results: dict[str, Any]) -> list[str]:
    """Every machine, and what ran on it when."""
    ran: dict[str, dict[str, None]] = {}
    for result in results.values():
        ran.setdefault(result["where"], {})[f"- `{result['command']}`: {result['when']}"] = None
    return [line for where, runs in ran.items() for line in (f"On {where}:", "", *runs, "")]


def _row(one: Promise, run: dict[str, Any] | None) -> str:
    """What was measured, by which benchmark at which commit."""
    head = f"| {one.what} | {one.least:g} | {one.aim:g}"
    if run is None:
        return f"{head} | {one.verdict(None)} | |"
    value = f"{run['value']:g}" if one.verdict(run["value"]) != "missed" else f"**{run['value']:g}**, missed"
    return f"{head} | {value} | {_by(run)} |"


def _by(run: dict[str, Any]) -> str:
    """Which benchmark of how many payments at which commit."""
    return f"`{run['bench']}` of {run['payments']:,} at {run['commit']}"


def _also(runs: dict[str, Any]) -> list[str]:
    """Ratios without a promise; what has no run says so."""
    rows = [
        f"| {what} | {runs[key]['value']:g} | {_by(runs[key])} |" if key in runs else f"| {what} | not measured | |"
        for key, what in ALSO.items()
    ]
    return ["| and nobody promised | measured | by |", "|---|---|---|", *rows, ""]


def _checked(results: dict[str, Any]) -> dict[str, list[str]]:
    """Who was checked alike."""
    found: dict[str, list[str]] = {}
    for name, result in results.items():
        found.setdefault(result["checked"], []).append(f"`{name}`")
    return found


def _others(results: dict[str, Any]) -> list[str]:
    """What users feel, in the figures themselves."""
    rows = [
        f"| `{name}` {row['name']} | {row['median']:,.0f} | {row['lowest']:,.0f} to {row['highest']:,.0f}"
        f" ({len(row['repeats'])}) | {_waited(row)} |"
        for name in TOLD
        for row in results.get(name, {}).get("variants", [])
    ]
    head = ["| | a second, median | lowest to highest (repeats) | p50 / p95 / p99, ms |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def _waited(row: dict[str, Any]) -> str:
    return " / ".join(f"{row[key]:,.0f}" for key in ("p50_ms", "p95_ms", "p99_ms")) if "p50_ms" in row else ""


def plot(latest: dict[str, Any]) -> str:
    """Deliveries per second of every queue: medians as bars, lowest to highest as a line across their ends."""
    rows = [
        row | {"name": f"{name}, {row['name']}"}
        for name in PLOTTED
        for row in latest["results"].get(name, {}).get("variants", [])
        if row["unit"] == "deliveries/s"
    ]
    assert rows, f"the plot is of {' or '.join(PLOTTED)}: run one of them"
    scale = (WIDTH - LABEL - 80) / max(row["highest"] for row in rows)
    drawn = []
    for place, row in enumerate(rows):
        y, end = place * BAR + 6, LABEL + row["median"] * scale
        low, high = LABEL + row["lowest"] * scale, LABEL + row["highest"] * scale
        drawn += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(row["name"][:66])}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{end - LABEL:.1f}" height="{BAR - 8}" fill="#4c78a8"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 8}" y2="{y + 8}" stroke="#e45756" stroke-width="2"/>',
            f'<text x="{max(end, high) + 6:.1f}" y="{y + 13}">{row["median"]:,.0f}</text>',
        ]
    height = len(rows) * BAR + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="#fff"/>' + "\n".join(drawn) + "</svg>\n"
    )
