"""Heads of made-up animals: muzzles, beaks, eyes, ears, horns, hats."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vid4d.training.made_up.body import Body, Hinge, Vector, along, turn, vec
from vid4d.training.made_up.coats import BELLY, BRIGHT, DARK, EYE, FUR, PUPIL, SECOND


def head(body: Body, at: Vector, size: float, hinges: tuple[Hinge, ...] = (), *, beak: bool = False) -> None:
    """A head around a point, that looks towards +x and nods. size: about its radius."""
    center = np.asarray(at, float)
    radii = size * body.rng.uniform(0.75, 1.25, 3)
    nod = (body.hinge(center - vec(0.7 * size, 0, 0.5 * size), (0, 1, 0), 0.15), *hinges)
    if body.chance(0.3):
        nod = (body.hinge(center, (0, 0, 1), 0.2, bias=0.3), *nod)
    body.add(FUR, center, radii, turn("y", 90 + body.between(-15, 15)), hinges=nod)
    if beak:
        _beak(body, center, radii, nod)
    elif body.chance(0.8):
        _muzzle(body, center, radii, nod)
    if body.chance(0.85):
        _eyes(body, center, radii, nod)
    if body.chance(0.75 if not beak else 0.1):
        _ears(body, center, radii, nod)
    if body.chance(0.25):
        _horns(body, center, radii, nod)
    if body.chance(0.12):
        _hat(body, center, radii, nod)
    if body.chance(0.15):  # a mane, a hood, a beard
        body.add(
            SECOND,
            center - vec(body.between(-0.2, 0.5) * size, 0, body.between(-0.1, 0.5) * size),
            radii * body.rng.uniform(0.8, 1.25, 3),
            hinges=nod,
        )


Radii = Float[np.ndarray, "3"]


def _muzzle(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    length = body.between(0.3, 1.1) * radii[0]
    drop = body.between(-0.05, 0.45) * radii[2]
    middle = center + vec(radii[0] * 0.7 + length * 0.4, 0, -drop)
    wide = body.between(0.3, 0.7)
    size = (radii[2] * wide * body.between(0.6, 1), radii[1] * wide, length)
    body.add(
        int(body.rng.choice([FUR, BELLY, SECOND])), middle, size, turn("y", 90), taper=0.25, hinges=hinges
    )
    tip = middle + vec(length * 0.95, 0, size[0] * 0.4)
    body.add(DARK, tip, np.full(3, size[1] * body.between(0.2, 0.5)), hinges=hinges)
    if body.chance(0.3):  # a lower jaw that opens
        jaw = (body.hinge(center, (0, 1, 0), 0.1, bias=0.1), *hinges)
        body.add(
            BELLY,
            middle - vec(0, 0, size[0] * 0.9),
            (size[0] * 0.4, size[1] * 0.8, length),
            turn("y", 90),
            hinges=jaw,
        )
    if body.chance(0.08):  # a trunk
        steps = [(0.1 * radii[0], 0, -radii[2] * 0.5)] * int(body.rng.integers(2, 5))
        body.limb(FUR, tip, steps, [size[1] * 0.4] * len(steps), swing=0.25, hinges=hinges)


def _beak(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    length = body.between(0.25, 1.2) * radii[0]
    size = (radii[2] * body.between(0.15, 0.4), radii[1] * body.between(0.15, 0.5), length)
    middle = center + vec(radii[0] * 0.85 + length * 0.5, 0, -body.between(-0.1, 0.2) * radii[2])
    body.add(BRIGHT, middle, size, turn("y", 90 + body.between(-5, 20)), taper=0.7, hinges=hinges)
    if body.chance(0.3):  # a comb
        body.add(
            BRIGHT,
            center + vec(0, 0, radii[2]),
            (radii[0] * 0.6, radii[1] * 0.12, radii[2] * body.between(0.3, 0.7)),
            hinges=hinges,
        )


def _eyes(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    angle, rise = body.between(0.35, 1.25), body.between(0, 0.6)
    towards = np.array([np.cos(angle) * np.cos(rise), np.sin(angle) * np.cos(rise), np.sin(rise)])
    place = center + towards * radii * 0.93
    size = radii.min() * body.between(0.1, 0.32)
    white = body.chance(0.5)
    body.add(EYE if white else PUPIL, place, np.full(3, size), hinges=hinges, both=0.0)
    if white:
        body.add(PUPIL, place + towards * size * 0.5, np.full(3, size * 0.65), hinges=hinges, both=0.0)


def _ears(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    tilt = body.between(0.2, 1.2)  # from straight up to the side
    root = center + np.array([body.between(-0.4, 0.2), np.sin(tilt), np.cos(tilt)]) * radii * 0.85
    long = body.between(0.3, 0.8) if body.chance(0.7) else body.between(0.8, 2.2)
    length = long * radii.max()
    width, thick = length * body.between(0.2, 0.55), radii.min() * body.between(0.08, 0.25)
    lean = np.array([body.between(-0.6, 0.2), np.sin(tilt), np.cos(tilt) - (1.5 if body.chance(0.2) else 0)])
    lean = lean / np.linalg.norm(lean)
    joint = (body.hinge(root, (0, 1, 0), 0.15), *hinges)
    taper = body.between(-0.2, 0.75)
    frame = along(lean)
    coat = FUR if body.chance(0.7) else DARK
    body.add(
        coat, root + lean * length * 0.8, (thick, width, length), frame, taper=taper, hinges=joint, both=0.0
    )
    if body.chance(0.5):
        inner = root + lean * length * 0.75 + frame[:, 0] * thick * 0.6
        body.add(
            BELLY,
            inner,
            (thick * 0.6, width * 0.65, length * 0.8),
            frame,
            taper=taper,
            hinges=joint,
            both=0.0,
        )


def _horns(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    if body.chance(0.2):  # one in the middle
        root, step = center + vec(radii[0] * 0.4, 0, radii[2] * 0.8), np.array([0.3, 0, 1.0])
        both = None
    else:
        angle = body.between(0.2, 1.0)
        root = center + np.array([0.1, np.sin(angle), np.cos(angle)]) * radii * 0.9
        step = np.array([body.between(-0.6, 0.6), body.between(0.1, 0.9), body.between(0.3, 1)])
        both = 0.0
    count = int(body.rng.integers(1, 4))
    bend = body.rng.normal(0, 0.25, 3) * [1, 1, 0.5]
    steps = [(step + i * bend) * radii.max() * body.between(0.25, 0.6) for i in range(count)]
    thick = radii.min() * body.between(0.06, 0.18)
    body.limb(
        BRIGHT,
        root,
        steps,
        [thick * (1 - 0.25 * i) for i in range(count)],
        swing=0.02,
        hinges=hinges,
        both=both,
    )


def _hat(body: Body, center: np.ndarray, radii: Radii, hinges: tuple[Hinge, ...]) -> None:
    top = center + vec(0, 0, radii[2] * 0.75)
    brim = radii.max() * body.between(0.8, 1.8)
    body.add(BRIGHT, top, (brim, brim, radii[2] * 0.1), hinges=hinges)
    crown = radii.max() * body.between(0.5, 0.85)
    tall = radii[2] * body.between(0.3, 0.9)
    body.add(
        BRIGHT, top + vec(0, 0, tall * 0.6), (crown, crown, tall), taper=body.between(0, 0.6), hinges=hinges
    )
