"""The README's table and plot, from the newest value of every ratio: what was promised, what was hoped for, what is."""

from __future__ import annotations

from html import escape
from typing import Any

from app.config import ROOT

README = ROOT / "README.md"
PLOT = ROOT / "docs" / "bench.svg"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

# What is measured, the key of its ratio, at least, aim, and whether more is better.
PROMISED = (
    ("deliveries/s against the best peer on the same work", "deliver_vs_best_peer", 2.5, 4, True),
    ("deliveries/s against the set-based SQL limit", "deliver_vs_sql_limit", 0.6, 0.85, True),
    ("deliveries/s against stock Procrastinate", "deliver_vs_stock", 10, 18, True),
    ("accepted payments/s against pgbench of the same SQL", "accept_vs_pgbench", 0.3, 0.5, True),
    ("webhooks/s against pgbench of the same SQL", "webhook_vs_pgbench", 0.4, 0.6, True),
    ("commit of an event to the start of its handler, p95 at 200/s, ms", "start_p95_ms", 50, 15, False),
    ("webhook acknowledgement, p99 at 200/s, ms", "ack_p99_ms", 25, 10, False),
    ("accept in a large database against a small one", "growth_accept", 0.85, 0.95, True),
    ("deliver in a large database against a small one", "growth_deliver", 0.85, 0.95, True),
    ("trace in a large database against a small one", "growth_trace", 0.85, 0.95, True),
    ("full trace of one payment in a large database, p95, ms", "trace_p95_ms", 50, 10, False),
    ("memory of one web process, MB", "web_mb", 120, 90, False),
    ("memory of one worker, MB", "worker_mb", 150, 110, False),
)
# Which variants the plot shows: everything that delivers.
PLOTTED = ("peers", "deliver")
WIDTH, LABEL, BAR = 860, 430, 24


def write(latest: dict[str, Any], command: str, told: str) -> None:
    """Put the table between its marks in the README, and the plot beside it."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"the README holds {BEGIN} and {END}"
    README.write_text(f"{before}{BEGIN}\n{section(latest, command, told)}\n{END}{after}")
    PLOT.write_text(plot(latest))


def section(latest: dict[str, Any], command: str, told: str) -> str:
    """The machine, the command, a row for each promise; what was not measured says so."""
    ratios = latest["ratios"]
    rows = [
        f"| {what} | {least:g} | {aim:g} | {_measured(ratios.get(key), least, more=more)} |"
        for what, key, least, aim, more in PROMISED
    ]
    sizes = {name: result["payments"] for name, result in latest["results"].items()}
    large = "".join(f" `{name}` had {sizes[name]:,} payments." for name in ("trace", "growth") if name in sizes)
    return "\n".join(
        [
            f"`{command}` on {told}.{large} `postbox check` was clean after every turn.",
            "",
            "| what | at least | aim | measured |",
            "|---|---|---|---|",
            *rows,
            "",
            "![Deliveries per second](docs/bench.svg)",
        ]
    )


def _measured(value: float | None, least: float, *, more: bool) -> str:
    if value is None:
        return "not measured"
    return f"{value:g}" if (value >= least if more else value <= least) else f"**{value:g}**, missed"


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
