"""A ring as inline SVG, seen from above: a sector for every direction, colored by a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from vid4d.report.line_chart import INK, PALE

LOW, HIGH = (0xE6, 0xE9, 0xED), (0x2F, 0x6F, 0x4F)
"""Colors of 0 and 1."""
SIZE, CENTER = 260, 130.0
RINGS = ((70.0, 98.0), (46.0, 66.0))
"""Inner and outer radius of each ring, the outermost first."""


def shade(value: float) -> str:
    """The color of a value in [0, 1]."""
    share = min(1.0, max(0.0, value))
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(LOW, HIGH, strict=True))


def _at(azimuth: float, radius: float) -> str:
    """Azimuth 0 at the bottom, where the reader stands; growing azimuths go round by the right."""
    a = math.radians(azimuth)
    return f"{CENTER + radius * math.sin(a):.1f} {CENTER + radius * math.cos(a):.1f}"


def _sector(azimuth: float, width: float, inner: float, outer: float) -> str:
    left, right = azimuth - width / 2, azimuth + width / 2
    return (
        f"M{_at(left, outer)}A{outer} {outer} 0 0 0 {_at(right, outer)}"
        f"L{_at(right, inner)}A{inner} {inner} 0 0 1 {_at(left, inner)}Z"
    )


def ring_chart(
    azimuths: Sequence[float], rings: Sequence[tuple[str, Sequence[float]]], title: str, *, low: float = 0.0
) -> str:
    """An SVG element with at most two rings.

    azimuths: of the sectors' middles, degrees, evenly spaced, beginning at the clip's side.
    rings: what each tells, and its values in [0, 1], one a sector. low: the value that gets the pale color.
    """
    width = 360 / len(azimuths) - 1.5
    parts = [f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(title)}" class="ring">']
    for (name, values), (inner, outer) in zip(rings, RINGS, strict=False):
        for azimuth, value in zip(azimuths, values, strict=True):
            color = shade((value - low) / (1 - low))
            parts.append(
                f'<path d="{_sector(azimuth, width, inner, outer)}" fill="{color}">'
                f"<title>{azimuth:g}°: {escape(name)} {value:.2f}</title></path>"
            )
    for azimuth, words in ((0, "0° clip"), (90, "90°"), (180, "180° behind"), (270, "270°")):
        x, y = _at(azimuth, 114).split()
        parts.append(
            f'<text x="{x}" y="{float(y) + 4:.1f}" fill="{INK if azimuth == 0 else PALE}" '
            f'text-anchor="middle">{words}</text>'
        )
    return "".join(parts) + "</svg>"
