"""Draws stacks as an icicle: callers above what they called, as wide as they were often seen. No script."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

WIDTH, ROW = 960, 16
# What is narrower tells nothing.
NARROWEST = 2.0
# A letter of 11 pixels.
LETTER = 6.2

Node = dict[str, Any]


def icicle(stacks: Iterable[tuple[list[str], int]]) -> str:
    """The whole picture; the text of what is too narrow for it appears under the pointer."""
    root: Node = {"count": 0, "inner": {}}
    for stack, count in stacks:
        node = root
        node["count"] += count
        for name in stack:
            node = node["inner"].setdefault(name, {"count": 0, "inner": {}})
            node["count"] += count
    drawn: list[str] = []
    depth = _draw(root, 0.0, 0, WIDTH / root["count"], root["count"], drawn)
    height = depth * ROW
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{"".join(drawn)}</svg>'


def _draw(node: Node, x: float, depth: int, scale: float, total: int, drawn: list[str]) -> int:
    """Draw everything within a node; how many rows that took."""
    deepest = depth
    for name, inner in sorted(node["inner"].items(), key=lambda item: -item[1]["count"]):
        width = inner["count"] * scale
        if width < NARROWEST:
            break
        hue = sum(map(ord, name.partition(":")[0])) * 37 % 360
        letters = int(width / LETTER)
        drawn.append(
            f"<g><title>{escape(name)}: {inner['count'] / total:.1%}</title>"
            f'<rect x="{x:.1f}" y="{depth * ROW}" width="{width:.1f}" height="{ROW - 1}" fill="hsl({hue} 55% 72%)"/>'
            f'<text x="{x + 2:.1f}" y="{depth * ROW + 12}" style="font-size:11px">'
            f"{escape(name[:letters]) if letters > 2 else ''}</text></g>"
        )
        deepest = max(deepest, _draw(inner, x, depth + 1, scale, total, drawn))
        x += width
    return max(deepest, depth + 1) if node["inner"] else depth
