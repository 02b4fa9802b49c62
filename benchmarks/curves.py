"""Curves as SVG text: panels in two rows, both axes logarithmic; a line through medians, and a bar over all trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

#: Colours that readers with any kind of colour vision can tell apart (Okabe and Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_SIDE, _LEFT, _TOP, _GAP = 260, 60, 40, 40

#: At each place x the values of all trials.
Curve = Sequence[tuple[float, Sequence[float]]]


def curves(panels: Mapping[str, Mapping[str, Curve]], y_name: str) -> str:
    """The document. panels: by title, the curves by name; the same names have the same colour, and all panels the same scale
    of values. Raises ValueError where there are no points, or one cannot be on a logarithmic axis."""
    points = [(x, v) for panel in panels.values() for curve in panel.values() for x, values in curve for v in values]
    if not points or not all(math.isfinite(v) and v > 0 for point in points for v in point):
        raise ValueError("logarithmic axes need points, and all of them above 0")
    low, high = (math.log10(f(v for _, v in points)) for f in (min, max))
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    columns = min(2, len(panels))
    width, height = columns * (_LEFT + _SIDE + _GAP) + 90, -(-len(panels) // columns) * (_TOP + _SIDE + _GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for place, (title, panel) in enumerate(panels.items()):
        row, column = divmod(place, columns)
        at = f"{_LEFT + column * (_LEFT + _SIDE + _GAP)},{_TOP + row * (_TOP + _SIDE + _GAP)}"
        parts += [f'<g transform="translate({at})">', *_panel(title, panel, names, (low - 0.05, high + 0.05), y_name), "</g>"]
    for row, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        parts.append(f'<circle cx="{width - 105}" cy="{_TOP + 12 + 18 * row}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{width - 95}" y="{_TOP + 16 + 18 * row}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, panel: Mapping[str, Curve], names: Sequence[str], scale: tuple[float, float], y_name: str) -> list[str]:
    low, high = scale
    places = sorted({x for curve in panel.values() for x, _ in curve})
    first, last = math.log(places[0]) - 0.1, math.log(places[-1]) + 0.1

    def x_at(x: float) -> float:
        return _SIDE * (math.log(x) - first) / (last - first)

    def y_at(value: float) -> float:
        return _SIDE * (1 - (math.log10(value) - low) / (high - low))

    parts = [f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#444"/>']
    parts.append(f'<text x="{_SIDE / 2}" y="-14" text-anchor="middle" font-size="14">{title}</text>')
    parts += [f'<text x="{x_at(x):.1f}" y="{_SIDE + 16}" text-anchor="middle">{x:g}</text>' for x in places]
    for step in (v * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for v in (1, 2, 5)):
        if low <= math.log10(step) <= high:
            parts.append(f'<path d="M0 {y_at(step):.1f}H{_SIDE}" stroke="#eee"/>')
            parts.append(f'<text x="-6" y="{y_at(step) + 4:.1f}" text-anchor="end">{step:g}</text>')
    parts.append(f'<text transform="translate(-40,{_SIDE / 2}) rotate(-90)" text-anchor="middle">{y_name}</text>')
    for number, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        curve = panel.get(name, ())
        if not curve:
            continue
        aside = 2.0 * number - len(names)  # or the bars of two curves would cover each other
        line = " ".join(f"{x_at(x) + aside:.1f},{y_at(median(values)):.1f}" for x, values in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, values in curve:
            at = x_at(x) + aside
            parts.append(f'<path d="M{at:.1f} {y_at(min(values)):.1f}V{y_at(max(values)):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{at:.1f}" cy="{y_at(median(values)):.1f}" r="3" fill="{colour}"/>')
    return parts
