"""A scatter plot as SVG text: panels side by side, both axes logarithmic and alike, a diagonal where they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

#: Colours that readers with any kind of colour vision can tell apart (Okabe and Ito, 2008), and a mark for each.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_SIDE, _LEFT, _TOP, _GAP = 300, 60, 40, 90

Series = Mapping[str, Sequence[tuple[float, float]]]


def scatter(panels: Mapping[str, Series], x_name: str, y_name: str) -> str:
    """The document. panels: by title, the points (x, y), all above 0, of each series by name. Raises ValueError where a panel
    has no points, or a point cannot be on a logarithmic axis."""
    width, height = len(panels) * (_LEFT + _SIDE + _GAP), _TOP + _SIDE + 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for number, (title, series) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({_LEFT + number * (_LEFT + _SIDE + _GAP)},{_TOP})">')
        parts += _panel(title, series, x_name, y_name)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, series: Series, x_name: str, y_name: str) -> list[str]:
    values = [v for points in series.values() for point in points for v in point]
    if not values or not all(math.isfinite(v) and v > 0 for v in values):
        raise ValueError(f"{title}: a logarithmic plot needs points, and all of them above 0")
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def at(value: float) -> float:
        return _SIDE * (math.log10(value) - low) / (high - low)

    parts = [f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#444"/>']
    parts.append(f'<text x="{_SIDE / 2}" y="-14" text-anchor="middle" font-size="14">{title}</text>')
    parts.append(f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0" stroke="#aaa" stroke-dasharray="4"/>')
    for power in range(low, high + 1):
        place = at(10.0**power)
        parts.append(f'<text x="{place:.1f}" y="{_SIDE + 16}" text-anchor="middle">{10.0**power:g}</text>')
        parts.append(f'<text x="-6" y="{_SIDE - place + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        parts.append(f'<path d="M{place:.1f} 0V{_SIDE}M0 {_SIDE - place:.1f}H{_SIDE}" stroke="#eee"/>')
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE + 36}" text-anchor="middle">{x_name}</text>')
    parts.append(f'<text transform="translate(-44,{_SIDE / 2}) rotate(-90)" text-anchor="middle">{y_name}</text>')
    for colour, row, (name, points) in zip(_COLOURS, range(len(series)), series.items(), strict=False):
        parts += [
            f'<circle cx="{at(x):.1f}" cy="{_SIDE - at(y):.1f}" r="4" fill="{colour}" fill-opacity="0.7"/>' for x, y in points
        ]
        parts.append(f'<circle cx="{_SIDE + 14}" cy="{12 + 18 * row}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{_SIDE + 24}" y="{16 + 18 * row}">{name}</text>')
    return parts
