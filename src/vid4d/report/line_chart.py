"""Line charts as inline SVG, for pages that need nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

INK, PALE, GRID = "#22272e", "#6e7680", "#e4e7eb"
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 30, 26  # half of the last number along x stands right of the line


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def format_number(value: float, digits: int = 6) -> str:
    """A number to be read: '32,000', '36.96', '1e-05'."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def line_chart(
    points: Sequence[tuple[float, float]],
    title: str,
    *,
    color: str = "#c2571a",
    width: int = 340,
    height: int = 190,
) -> str:
    """An SVG element that draws `points` (x, y), x increasing, and writes the last value beside the title."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, right = min(xs), max(xs)
    low, high = min(ys), max(ys)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - room, high + room

    def across(x: float) -> float:
        share = (x - left) / (right - left) if right > left else 0.5
        return LEFT + share * (width - LEFT - RIGHT)

    def down(y: float) -> float:
        return height - BOTTOM - (y - low) / (high - low) * (height - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" class="chart">',
        f'<text x="{LEFT}" y="17" fill="{INK}" font-weight="600">{escape(title)}</text>',
        f'<text x="{width - RIGHT}" y="17" fill="{color}" text-anchor="end">'
        f"{format_number(ys[-1], 4)}</text>",
    ]
    for y in ticks(low, high):
        parts.append(
            f'<path d="M{LEFT} {down(y):.1f}H{width - RIGHT}" stroke="{GRID}"/>'
            f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" fill="{PALE}" '
            f'text-anchor="end">{format_number(y)}</text>'
        )
    for x in ticks(left, right):
        parts.append(
            f'<text x="{across(x):.1f}" y="{height - 8}" fill="{PALE}" '
            f'text-anchor="middle">{format_number(x)}</text>'
        )
    if len(points) > 1:
        line = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2" '
            'stroke-linejoin="round"/>'
        )
    parts.append(f'<circle cx="{across(xs[-1]):.1f}" cy="{down(ys[-1]):.1f}" r="3" fill="{color}"/></svg>')
    return "".join(parts)
