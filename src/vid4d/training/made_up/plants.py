"""Made-up plants and vessels: what is the same all around, or nearly."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from vid4d.training.made_up.body import Body, Hinge, along, vec
from vid4d.training.made_up.coats import BELLY, BRIGHT, DARK, FUR, SECOND

Hinges = tuple[Hinge, ...]


def _around(angle: float) -> Float[np.ndarray, "3"]:
    """Outwards, at an angle about the vertical."""
    return vec(math.cos(angle), math.sin(angle), 0)


def _stalk(body: Body, length: float, thick: float) -> tuple[Float[np.ndarray, "3"], Hinges]:
    """A stalk upwards from the origin, a little crooked, that sways; where it ends, and its joints."""
    count = int(body.rng.integers(1, 4))
    lean = vec(body.rng.normal(0, 0.12), body.rng.normal(0, 0.12), 1)
    steps = [(lean + body.rng.normal(0, 0.08, 3)) * length / count for _ in range(count)]
    return body.limb(DARK, (0, 0, 0), steps, [thick] * count, axis=body.rng.normal(0, 1, 3), swing=0.06)


def _leaf(body: Body, root: np.ndarray, out: np.ndarray, coat: int, hinges: Hinges, open_by: float) -> None:
    """A leaf or petal from a root in a direction, that opens and closes."""
    length = float(np.linalg.norm(out))
    tangent = np.cross(vec(0, 0, 1), out)
    if np.linalg.norm(tangent) < 1e-6:
        tangent = vec(0, 1, 0)
    joints = (body.hinge(root, tangent, open_by, bias=0.1), *hinges)
    width = length * body.between(0.2, 0.55)
    body.add(
        coat,
        root + out * 0.5,
        (length * body.between(0.04, 0.12), width, length * 0.55),
        along(out),
        taper=body.between(-0.5, 0.4),
        hinges=joints,
    )


def flower(body: Body) -> None:
    """A stalk with leaves, and rings of petals around its end: buds, roses, daisies, palms."""
    tall = body.between(0.1, 1.0)
    top, sway = _stalk(body, tall, body.between(0.015, 0.05))
    size = body.between(0.2, 0.5)
    rings, opened = int(body.rng.integers(1, 5)), body.between(0.2, 1.6)
    coat = FUR if body.chance(0.7) else BRIGHT
    if body.chance(0.7):
        body.add(SECOND, top, size * body.rng.uniform(0.15, 0.5, 3), hinges=sway)
    for ring in range(rings):
        count = int(body.rng.integers(4, 9))
        tilt = opened * (ring + 1) / rings  # from the vertical; the outer ones lie flatter
        first = body.between(0, 2 * math.pi)
        long, swing = size * body.between(0.7, 1.2), body.between(0.05, 0.3)
        for i in range(count):
            angle = first + 2 * math.pi * i / count
            out = _around(angle) * math.sin(tilt) + vec(0, 0, math.cos(tilt))
            _leaf(body, top + _around(angle) * 0.1 * size, out * long, coat, sway, swing)
    if body.chance(0.5):  # sepals
        for i in range(5):
            out = _around(2 * math.pi * i / 5) + vec(0, 0, body.between(-0.9, 0.3))
            _leaf(body, top, out * size * body.between(0.3, 0.7), DARK, sway, 0.1)
    for _ in range(int(body.rng.integers(0, 5))):
        at = top * body.between(0.05, 0.8)
        out = _around(body.between(0, 2 * math.pi)) + vec(0, 0, body.between(-0.3, 1))
        _leaf(body, at, out * body.between(0.1, 0.5), SECOND if body.chance(0.5) else DARK, (), 0.1)
    if body.chance(0.3):
        vessel(body, drop=0.0, width=body.between(0.1, 0.3))


def tree(body: Body) -> None:
    """A trunk with a crown: of lumps, of storeys, or one cap, as mushrooms have."""
    thick = body.between(0.03, 0.15)
    top, sway = _stalk(body, body.between(0.3, 0.8), thick)
    wide = body.between(0.2, 0.5)
    kind = int(body.rng.integers(3))
    if kind == 0:
        for _ in range(int(body.rng.integers(3, 9))):
            off = body.rng.normal(0, 0.4, 3) * wide
            body.add(FUR, top + off, wide * body.rng.uniform(0.35, 0.7, 3), hinges=sway)
    elif kind == 1:
        count = int(body.rng.integers(2, 5))
        for i in range(count):
            share = 1 - 0.7 * i / count
            high = wide * body.between(0.5, 0.9)
            body.add(
                FUR if i % 2 == 0 else SECOND,
                top * 0.6 + vec(0, 0, i * high * 0.9),
                (wide * share, wide * share, high),
                taper=0.85,
                hinges=sway,
            )
    else:
        flat = body.between(0.3, 0.9)
        body.add(FUR, top, (wide, wide, wide * flat), taper=body.between(0, 0.6), hinges=sway)
        body.add(BELLY, top - vec(0, 0, 0.1 * wide), (wide * 0.8, wide * 0.8, wide * 0.15), hinges=sway)


def vessel(body: Body, drop: float | None = None, width: float | None = None) -> None:
    """Bottles, vases, pots, lamps, cups: rings on top of each other, a handle and a spout now and then.

    drop: height of its top; that of a thing of its own by default. width: its widest radius.
    """
    alone = drop is None
    wide = body.between(0.15, 0.4) if width is None else width
    count = int(body.rng.integers(1, 5)) if alone else 1
    stand: Hinges = (body.hinge((0, 0, 0), (0, 1, 0), 0.1),) if alone else ()
    z = 0.0 if drop is None else drop - 2 * wide
    low, rings = z, []
    for i in range(count):
        radius = wide * (body.between(0.25, 1.0) if count > 1 else 1.0)
        high = wide * body.between(0.3, 1.4) if alone else wide
        coat = FUR if i % 2 == 0 else int(body.rng.choice([FUR, SECOND, BRIGHT]))
        body.add(coat, (0, 0, z + high), (radius, radius, high), taper=body.between(-0.5, 0.5), hinges=stand)
        rings.append((z + high, radius))
        z += high * 1.7
    middle, radius = max(rings, key=lambda ring: ring[1])
    if alone and body.chance(0.4):
        reach, high = radius * body.between(0.4, 0.9), (z - low) * body.between(0.15, 0.4)
        steps = [(0, reach, high * 0.5), (0, 0, -2 * high * 0.5), (0, -reach, -high * 0.5)]
        thick = radius * body.between(0.06, 0.18)
        both = 0.0 if body.chance(0.2) else None
        root = (0, radius * 0.8, middle + high * 0.5)
        body.limb(BRIGHT, root, steps, [thick] * 3, swing=0.0, hinges=stand, both=both)
    if alone and body.chance(0.25):
        spout = vec(0, -1, body.between(0.3, 1.2)) * radius * body.between(0.4, 0.8)
        body.limb(FUR, (0, -radius * 0.8, middle), [spout], [radius * 0.15], swing=0.0, hinges=stand)
