"""One self-contained HTML page of a run: what it was measured on, a table and plots for each benchmark, no script."""

from __future__ import annotations

from html import escape
from typing import Any

from tests.bench.flame import icicle
from tests.bench.promised import PROMISED

# So many points show how latencies rise.
DRAWN = 500
WIDTH, LABEL, BAR = 900, 430, 26
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1b1f24}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}pre{white-space:pre-wrap}svg text{font:12px system-ui,sans-serif}"
)


def page(found: dict[str, Any], told: str) -> str:
    """The whole document."""
    parts = [f"<p><code>{escape(found['command'])}</code></p><p>{escape(told)}</p>", *_promised(found), _ratios(found)]
    parts += [f"<p>{escape(name)} failed: {escape(why)}</p>" for name, why in found["failed"].items()]
    for name, result in found["results"].items():
        parts += [f"<h2>{escape(name)}</h2>", f"<p>{escape(result['note'])}</p>", _table(result)]
        parts += [_bars(result["variants"]), _latencies(result["variants"])]
        if "profile" in result:
            parts += _profile(result["profile"], result["variants"][0])
        parts.append(f"<p><code>postbox check</code>: {escape(result['checked'])}</p>")
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>bin/bench</title><style>{STYLE}</style>'
        f"<h1>bin/bench</h1>{body}</html>\n"
    )


def _promised(found: dict[str, Any]) -> list[str]:
    """Every promise that this run measured, and where an aim is out of reach, what the limit is."""
    limits = {
        key: text
        for result in found["results"].values()
        for key, text in result.get("limits", {}).items()
        # of two that measured it the limit of the one that is told
        if result["ratios"].get(key) == found["ratios"].get(key)
    }
    rows, told = [], []
    for one in PROMISED:
        value = found["ratios"].get(one.key)
        if value is None:
            continue
        verdict = one.verdict(value)
        cells = [escape(one.what), f"{one.least:g}", f"{one.aim:g}", f"{value:g}", verdict]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        if verdict != "reached" and one.key in limits:
            told.append(f"<p><b>{escape(one.what)}</b>: {escape(limits[one.key])}</p>")
    head = "".join(f"<th>{cell}</th>" for cell in ("what", "at least", "aim", "measured", "aim is"))
    heading = ["<h2>What stands between the aim and what was measured</h2>"] if told else []
    return [f"<table><tr>{head}</tr>{''.join(rows)}</table>", *heading, *told]


def _profile(profile: dict[str, Any], served: dict[str, Any]) -> list[str]:
    """What each library costs of one payment, and where in the stack it does."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{share:.1%}</td><td>{share * served['worker_cpu_ms']:.2f}</td></tr>"
        for name, share in profile["shares"].items()
    )
    return [
        f"<h3>Where the web processes spend their time</h3><p>{profile['samples']:,} samples by py-spy of threads that"
        " hold the interpreter lock; the standard library counts for whoever called it.</p>",
        f"<table><tr><th>library</th><th>share</th><th>CPU ms a payment</th></tr>{rows}</table>",
        icicle(profile["stacks"]),
    ]


def _ratios(found: dict[str, Any]) -> str:
    """The others too."""
    told = {one.key for one in PROMISED}
    ratios = sorted((name, value) for name, value in found["ratios"].items() if name not in told)
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in ratios)
    return f"<table><tr><th>what</th><th>measured</th></tr>{rows}</table>"


def _table(result: dict[str, Any]) -> str:
    """The variants, and beneath them what each process of theirs cost: `cpu_ms of web 1`."""
    keys = [
        key
        for row in result["variants"]
        for key, value in row.items()
        if key != "name" and not isinstance(value, list | dict)
    ]
    each = [key for key in keys if " of " in key]
    return _rows(result["variants"], [key for key in keys if key not in each]) + _rows(
        [row for row in result["variants"] if any(key in row for key in each)], each
    )


def _rows(variants: list[dict[str, Any]], keys: list[str]) -> str:
    columns = list(dict.fromkeys(keys))
    if not columns:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in ("", *columns))
    rows = [
        f"<tr><td>{escape(row['name'])}</td>"
        + "".join(f"<td>{escape(str(row.get(c, '')))}</td>" for c in columns)
        + "</tr>"
        for row in variants
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _bars(variants: list[dict[str, Any]]) -> str:
    """Medians as bars, lowest to highest as a line across their ends."""
    rows = [row for row in variants if row.get("median")]
    if not rows:
        return ""
    most = max(row["highest"] for row in rows)
    scale = (WIDTH - LABEL - 70) / most
    drawn = []
    for place, row in enumerate(rows):
        y = place * BAR
        end = LABEL + row["median"] * scale
        low, high = LABEL + row["lowest"] * scale, LABEL + row["highest"] * scale
        drawn.append(
            f'<text x="{LABEL - 8}" y="{y + 17}" text-anchor="end">{escape(row["name"][:64])}</text>'
            f'<rect x="{LABEL}" y="{y + 4}" width="{end - LABEL:.1f}" height="{BAR - 9}" fill="#4c78a8"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 12}" y2="{y + 12}" stroke="#e45756" stroke-width="2"/>'
            f'<text x="{max(end, high) + 6:.1f}" y="{y + 17}">{row["median"]:,.0f}</text>'
        )
    return _svg(len(rows) * BAR + 6, drawn)


def _latencies(variants: list[dict[str, Any]]) -> str:
    """The latencies of each variant in order, up to its p99: how many were answered within how long."""
    rows = [row for row in variants if len(row.get("latencies_ms", [])) > 1]
    if not rows:
        return ""
    most = max(row["p99_ms"] for row in rows) or 1.0
    height, drawn = 220, []
    for place, row in enumerate(rows):
        hue = place * 360 // len(rows)
        values = sorted(row["latencies_ms"])
        values = values[:: max(1, len(values) // DRAWN)]
        points = [
            (60 + (WIDTH - 360) * n / (len(values) - 1), height - 20 - (height - 30) * value / most)
            for n, value in enumerate(values) if value <= most
        ]  # fmt: skip
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="hsl({hue} 60% 45%)" stroke-width="2"/>'
            f'<text x="{WIDTH - 290}" y="{16 + 16 * place}" fill="hsl({hue} 60% 35%)">{escape(row["name"][:48])}</text>'
        )
    drawn.append(f'<text x="0" y="14">{most:,.1f} ms</text><text x="0" y="{height - 20}">0</text>')
    drawn.append(f'<text x="60" y="{height - 4}">fastest</text><text x="{WIDTH - 350}" y="{height - 4}">slowest</text>')
    return _svg(height, drawn)


def _svg(height: int, drawn: list[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{"".join(drawn)}</svg>'
