"""The plot: bars of the main ratios, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, NAME_WIDTH, BAR_WIDTH = 820, 280, 440
ROW, BAR, GAP = 34, 12, 46
COLOURS = {"new": "#4c72b0", "repeated": "#dd8452"}
Group = tuple[str, Mapping[str, Mapping[str, float]]]


def draw(report: Mapping[str, Any]) -> str:
    """Draw what was measured of in-process and DRF costs and of requests per second."""
    parts = report["parts"]
    panels: list[tuple[str, list[Group]]] = []
    if part := parts.get("verify"):
        panels.append(("A token in process, raw RSA verify = 1", _groups(part, "")))
    if part := parts.get("requests"):
        title = "Added to a DRF request, PyJWT with a key at hand = 1"
        panels.append((title, _groups(part, "client ")))
    if part := parts.get("gunicorn"):
        for kind in ("sync", "gthread"):
            rates = part[kind]["rate"]
            groups: list[Group] = [
                (title, {"new" if name.endswith("new") else "repeated": rates[name]})
                for name, title in part["titles"].items()
                if name != part["baseline"]
            ]
            panels.append((f"Requests per second, {kind} workers, open endpoint = 1", groups))
    return _svg(panels)


def _groups(part: Mapping[str, Any], prefix: str) -> list[Group]:
    return [
        (title, {kind: part[prefix + kind][name] for kind in COLOURS})
        for name, title in part["titles"].items()
        if name in part[prefix + "new"]
    ]


def _svg(panels: Sequence[tuple[str, Sequence[Group]]]) -> str:
    body: list[str] = []
    y = 30
    for kind, x in (("new", NAME_WIDTH), ("repeated", NAME_WIDTH + 130)):
        body.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLOURS[kind]}"/>')
        body.append(_text(x + 18, y, f"{kind} token"))
    y += GAP
    for title, groups in panels:
        body.append(_text(10, y, title, 'font-weight="bold"'))
        y += 16
        largest = max(bar["high"] for _, bars in groups for bar in bars.values())
        scale = BAR_WIDTH / max(largest, 1.0)
        top = y
        for name, bars in groups:
            body.append(_text(NAME_WIDTH - 8, y + BAR + 4, name.replace("`", ""), _END))
            for i, (kind, bar) in enumerate(bars.items()):
                body.append(_bar(y + i * (BAR + 2), bar, scale, COLOURS[kind]))
            y += ROW
        one = NAME_WIDTH + scale
        body.append(
            f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top - 4}" y2="{y - 4}" stroke="#888" '
            'stroke-dasharray="3 3"/>'
        )
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - 10}" '
        'font-family="sans-serif" font-size="12">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


_END = 'text-anchor="end"'


def _bar(y: int, bar: Mapping[str, float], scale: float, colour: str) -> str:
    """Draw a median with the middle half of its rounds as a line."""
    width, low, high = (max(bar[name], 0) * scale for name in ("median", "low", "high"))
    middle = y + BAR / 2
    return (
        f'<rect x="{NAME_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
        f'<line x1="{NAME_WIDTH + low:.1f}" x2="{NAME_WIDTH + high:.1f}" y1="{middle}" '
        f'y2="{middle}" stroke="#222"/>'
        + _text(round(NAME_WIDTH + max(width, high) + 6), y + BAR - 2, f"{bar['median']:.2f}")
    )


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}" {attributes}>{escape(text)}</text>'
