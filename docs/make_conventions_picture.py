"""Draws docs/conventions.svg with the package's own cameras: `python docs/make_conventions_picture.py`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch

from vid4d.cameras import Cameras

WIDTH, HEIGHT = 900, 560
RED, GREEN, BLUE, GREY, INK = "#d64541", "#2e9e5b", "#2f6fd6", "#9aa3ad", "#22272e"

OBSERVER = Cameras.orbit([38.0], [24.0], distance=6.4, size=WIDTH, focal=1340.0)
SHIFT = (0.0, HEIGHT / 2 - WIDTH / 2 + 10)


def point(p) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    pixel = OBSERVER.project(torch.as_tensor(p, dtype=torch.float32)[None])[0][0, 0]
    return round(pixel[0].item() + SHIFT[0], 1), round(pixel[1].item() + SHIFT[1], 1)


def line(a, b, color: str, width: float = 1.5, extra: str = "") -> str:  # type: ignore[no-untyped-def]
    (x1, y1), (x2, y2) = point(a), point(b)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" stroke-width="{width}" {extra}/>'


def path(points, color: str, width: float = 1.5, extra: str = "") -> str:  # type: ignore[no-untyped-def]
    coordinates = " ".join(f"{x},{y}" for x, y in map(point, points))
    return f'<polyline points="{coordinates}" fill="none" stroke="{color}" stroke-width="{width}" {extra}/>'


def text(p, words: str, color: str = INK, dx: float = 0, dy: float = 0, size: int = 15) -> str:  # type: ignore[no-untyped-def]
    x, y = point(p)
    return f'<text x="{x + dx:.1f}" y="{y + dy:.1f}" fill="{color}" font-size="{size}">{words}</text>'


def arrow(a, b, color: str, width: float = 2.5) -> str:  # type: ignore[no-untyped-def]
    return line(a, b, color, width, f'marker-end="url(#tip-{color[1:]})"')


def frustum(camera: Cameras, color: str, width: float, depth: float = 0.22) -> list[str]:
    """The pyramid of a camera: its centre and the four corners of its picture."""
    w, h, f = camera.width, camera.height, camera.focal.item()
    corners = []
    for x, y in ((0, 0), (w, 0), (w, h), (0, h)):
        ray = torch.tensor([(x - w / 2) / f, (y - h / 2) / f, 1.0]) * depth
        corners.append(camera.position[0] + camera.rotation[0].T @ ray)
    edges = [line(camera.position[0], c, color, width) for c in corners]
    return [*edges, path([*corners, corners[0]], color, width)]


def picture() -> str:
    """The SVG as text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        "<defs>",
    ]
    for color in (RED, GREEN, BLUE, INK):
        parts.append(
            f'<marker id="tip-{color[1:]}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" '
            f'markerHeight="5" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{color}"/></marker>'
        )
    parts.append("</defs>")

    equator = Cameras.orbit([float(a) for a in range(0, 361, 4)], 0.0)
    parts.append(path(equator.position, GREY, 1.2, 'stroke-dasharray="3 4"'))
    for a, b in product(list(product((-0.5, 0.5), repeat=3)), repeat=2):
        if a < b and sum(i != j for i, j in zip(a, b, strict=True)) == 1:
            parts.append(line(a, b, GREY, 1.2))
    parts.append(text((0.5, 0.5, -0.5), "the cube [-0.5, 0.5]³", GREY, 14, 20, 13))
    for axis, color, name, dx, dy in (
        ((0.85, 0, 0), RED, "x", -16, 12),
        ((0, 0.85, 0), GREEN, "y", 6, 14),
        ((0, 0, 0.8), BLUE, "z (up)", 8, 0),
    ):
        parts += [arrow((0, 0, 0), axis, color, 3), text(axis, name, color, dx, dy, 17)]

    ring = Cameras.ring(16, size=256)
    for i in range(16):
        parts += frustum(ring[i], GREY, 1.0, 0.16)
    parts.append(
        text(ring[11].position[0], "SyncDreamer's ring: 16 views, elevation 30°", GREY, -150, -26, 13)
    )

    camera = Cameras.orbit([0.0], 0.0, size=256)
    centre, axes = camera.position[0], camera.rotation[0]
    parts += frustum(camera, INK, 2.2)
    parts += [
        arrow(centre, centre + 0.32 * axes[0], RED),
        arrow(centre, centre + 0.32 * axes[1], GREEN),
        arrow(centre, centre + 0.42 * axes[2], BLUE),
        text(centre + 0.32 * axes[0], "x right", RED, 6, 6, 13),
        text(centre + 0.32 * axes[1], "y down", GREEN, -54, 4, 13),
        text(centre + 0.42 * axes[2], "z forward", BLUE, -52, -12, 13),
        text(centre, "input camera: azimuth 0°, elevation 0°", INK, -112, 100),
    ]
    for azimuth in (90, 180, 270):
        place = Cameras.orbit([float(azimuth)], 0.0).position[0]
        x, y = point(place)
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{INK}"/>')
        parts.append(text(place, f"azimuth {azimuth}°", INK, -104 if azimuth == 270 else 10, 16))

    sweep = Cameras.orbit([float(a) for a in range(10, 41, 3)], 0.0, distance=1.62).position
    parts += [
        path(sweep[:-1], INK, 2),
        arrow(sweep[-2], sweep[-1], INK, 2),
        text(sweep[-3], "azimuth grows", INK, -70, 26, 13),
    ]
    rise = Cameras.orbit([0.0] * 11, [3.0 * i for i in range(11)], distance=1.5).position
    parts += [
        path(rise[3:-1], INK, 2),
        arrow(rise[-2], rise[-1], INK, 2),
        text(rise[6], "elevation grows", INK, -116, 14, 13),
    ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    target = Path(__file__).with_name("conventions.svg")
    target.write_text(picture(), encoding="utf-8")
    print(target)
