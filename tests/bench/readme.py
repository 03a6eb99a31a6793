"""The README's table and plot, from the newest value of every ratio: what was promised, what was hoped for, what is."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from app.config import ROOT
from tests.bench.promised import PROMISED, Promise

README = ROOT / "README.md"
PLOT = ROOT / "docs" / "bench.svg"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

# Which variants the plot shows: everything that delivers.
PLOTTED = ("peers", "deliver")
# Whose figures stand beside the ratios.
TOLD = ("accept", "webhook", "e2e")
WIDTH, LABEL, BAR = 860, 430, 24


def write(latest: dict[str, Any], readme: Path = README, plot_to: Path = PLOT) -> None:
    """Put the table between its marks in the README, and the plot beside it."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"the README holds {BEGIN} and {END}"
    readme.write_text(f"{before}{BEGIN}\n{section(latest)}\n{END}{after}")
    plot_to.write_text(plot(latest))


def section(latest: dict[str, Any]) -> str:
    """A row for each promise and the run it comes from, and on which machine that was; what has no run says so."""
    results = latest["results"]
    commands = dict.fromkeys((result["command"], result["machine"]) for result in results.values())
    return "\n".join(
        [
            *(f"`{command}` on {told}.\n" for command, told in commands),
            *(f"`postbox check` of {', '.join(names)}: {how}." for how, names in _checked(results).items()),
            "",
            "| what | at least | aim | measured | by |",
            "|---|---|---|---|---|",
            *(_row(one, latest["runs"].get(one.key)) for one in PROMISED),
            "",
            *_others(results),
            "![Deliveries per second](docs/bench.svg)",
        ]
    )


def _row(one: Promise, run: dict[str, Any] | None) -> str:
    """What was measured, by which benchmark at which commit."""
    head = f"| {one.what} | {one.least:g} | {one.aim:g}"
    if run is None:
        return f"{head} | {one.verdict(None)} | |"
    value = f"{run['value']:g}" if one.verdict(run["value"]) != "missed" else f"**{run['value']:g}**, missed"
    among = f" among {run['payments']:,}" if one.payments else ""
    return f"{head} | {value} | `{run['bench']}`{among} at {run['commit']} |"


def _checked(results: dict[str, Any]) -> dict[str, list[str]]:
    """Who was checked alike."""
    found: dict[str, list[str]] = {}
    for name, result in results.items():
        found.setdefault(result["checked"], []).append(f"`{name}`")
    return found


def _others(results: dict[str, Any]) -> list[str]:
    """What users feel, in the figures themselves."""
    rows = [
        f"| {row['name']} | {row['median']:,.0f} | {row['lowest']:,.0f} to {row['highest']:,.0f} |"
        for name in TOLD
        for row in results.get(name, {}).get("variants", [])
        if "offered" not in row["unit"]
    ]
    return ["| a second | median | lowest to highest |", "|---|---|---|", *rows, ""] if rows else []


def plot(latest: dict[str, Any]) -> str:
    """Deliveries per second of every queue: medians as bars, lowest to highest as a line across their ends."""
    rows = [
        row
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
