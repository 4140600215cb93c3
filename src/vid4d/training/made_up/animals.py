"""Bodies of made-up animals: four legs, two, wings, fins, six legs, none."""

from __future__ import annotations

import numpy as np

from vid4d.training.made_up.body import Body, Hinge, turn, vec
from vid4d.training.made_up.coats import BELLY, BRIGHT, DARK, FUR, SECOND
from vid4d.training.made_up.heads import head

Hinges = tuple[Hinge, ...]


def _trunk(body: Body, length: float, girth: float, tilt: float) -> Hinges:
    """A torso along x around the origin, that sways and pitches."""
    sway = (body.hinge((0, 0, 0), (0, 1, 0), 0.08), body.hinge((0, 0, 0), (0, 0, 1), 0.06))
    radii = (girth * body.between(0.8, 1.2), girth * body.between(0.75, 1.15), length / 2)
    frame = turn("y", 90 + tilt)
    body.add(FUR, (0, 0, 0), radii, frame, taper=body.between(-0.3, 0.3), hinges=sway)
    for end in (1, -1):  # chest and rump
        if body.chance(0.5):
            middle = frame @ (0, 0, end * length * 0.3)
            body.add(FUR, middle, girth * body.rng.uniform(0.75, 1.25, 3), frame, hinges=sway)
    if body.chance(0.4):
        body.add(BELLY, (0, 0, -0.12 * girth), np.multiply(radii, (0.95, 0.9, 0.9)), frame, hinges=sway)
    if body.chance(0.15):  # a saddle, a shell, a pack
        size = girth * body.rng.uniform(0.5, 1.1, 3)
        body.add(SECOND, (0, 0, 0.6 * girth), size, frame, hinges=sway)
    return sway


def _tail(body: Body, root: np.ndarray, size: float, hinges: Hinges) -> None:
    """A tail backwards from a root: a stump, a chain, with a tuft now and then."""
    count = int(body.rng.integers(1, 5))
    step = np.array([-1, 0, body.between(-0.9, 1.0)]) * size * body.between(0.25, 0.8) / count**0.5
    curl = np.array([body.between(0, 0.4), 0, body.between(-0.3, 0.5)]) * size * 0.3
    thick = size * body.between(0.08, 0.4)
    steps = [step + i * curl for i in range(count)]
    radii = [thick * (1 - body.between(0, 0.2) * i) for i in range(count)]
    end, joints = body.limb(
        FUR,
        root,
        steps,
        radii,
        axis=(0, 0.4, 1) if body.chance(0.7) else (0, 1, 0),
        swing=0.25,
        hinges=hinges,
    )
    if body.chance(0.3):
        body.add(SECOND, end, size * body.rng.uniform(0.1, 0.35, 3), hinges=joints)


def _leg(
    body: Body, root: np.ndarray, length: float, thick: float, hinges: Hinges, phase: float, late: float
) -> None:
    """A pair of legs: two or three segments and a paw. late: of the right one, share of a cycle."""
    knee = body.between(-0.35, 0.35)
    upper, lower = length * body.between(0.4, 0.6), length * 0.45
    out = body.between(0, 0.25)
    steps = [(knee * upper, out * upper, -upper), (-0.7 * knee * lower, 0, -lower)]
    radii = [thick * body.between(0.9, 1.6), thick * body.between(0.6, 1.1)]
    coat = FUR if body.chance(0.7) else DARK
    end, joints = body.limb(
        coat, root, steps, radii, swing=body.between(0.1, 0.6), phase=phase, hinges=hinges, both=late
    )
    if body.chance(0.8):
        size = thick * np.array([body.between(1, 2.2), body.between(0.9, 1.5), body.between(0.5, 0.9)])
        body.add(DARK, end + vec(size[0] * 0.4, 0, 0), size, hinges=joints, both=late)


def _wings(body: Body, root: np.ndarray, span: float, hinges: Hinges) -> None:
    """A pair of wings, folded or spread, in one piece or two."""
    spread = body.between(0.2, 1.2)
    step = np.array([body.between(-0.7, 0.1), np.sin(spread), body.between(-0.3, 0.8)]) * span
    pieces = int(body.rng.integers(1, 3))
    body.limb(
        SECOND if body.chance(0.6) else FUR,
        root,
        [step / pieces] * pieces,
        [span * body.between(0.02, 0.07)] * pieces,
        axis=(1, 0, 0),
        swing=body.between(0.1, 0.7),
        flat=body.between(4, 9),
        hinges=hinges,
        both=0.0,
    )


def quadruped(body: Body) -> None:
    """Dogs, horses, hares, lizards: a level torso, a neck, four legs."""
    girth = body.between(0.12, 0.34)
    tilt = body.between(-25, 15)
    long = body.between(0.5, 1.0)
    sway = _trunk(body, long, girth, tilt)
    frame = turn("y", 90 + tilt)
    front, back = frame @ (0, 0, 0.36 * long), frame @ (0, 0, -0.36 * long)
    length = body.between(0.15, 0.85)
    thick = body.between(0.035, 0.1)
    late = 0.5 if body.chance(0.7) else body.between(0, 0.2)
    for root, phase in ((front, 0.0), (back, body.between(0, 1))):
        wide = girth * body.between(0.4, 0.85)
        _leg(body, root + vec(0, wide, -0.4 * girth), length, thick, sway, phase, late)
    size = body.between(0.13, 0.34)
    neck = np.array([body.between(0.2, 1), 0, body.between(-0.1, 1.2)]) * body.between(0.1, 0.45)
    if np.linalg.norm(neck) > 0.15 or body.chance(0.5):
        end, joints = body.limb(
            FUR,
            front + vec(0.05, 0, 0.2 * girth),
            [neck],
            [size * body.between(0.4, 0.8)],
            swing=0.15,
            hinges=sway,
        )
    else:
        end, joints = front + neck, sway
    head(body, end + vec(size * 0.6, 0, size * 0.3), size, joints)
    if body.chance(0.85):
        _tail(body, frame @ (0, 0, -0.48 * long), body.between(0.2, 0.9), sway)
    if body.chance(0.06):
        _wings(body, front + vec(0, girth * 0.6, girth * 0.6), body.between(0.4, 0.9), sway)


def sitter(body: Body) -> None:
    """Hares, cats, dogs, bears that sit: a steep torso on folded hind legs, a head on top."""
    girth, long = body.between(0.16, 0.36), body.between(0.4, 0.8)
    tilt = body.between(-80, -25)
    sway = _trunk(body, long, girth, tilt)
    frame = turn("y", 90 + tilt)
    front, rump = frame @ (0, 0, 0.36 * long), frame @ (0, 0, -0.3 * long)
    ground = rump[2] - girth * body.between(0.7, 1.1)
    wide = girth * body.between(0.5, 0.95)
    thigh = girth * np.array([body.between(0.5, 0.9), body.between(0.3, 0.55), body.between(0.45, 0.85)])
    hip = (body.hinge(rump, (0, 1, 0), 0.15), *sway)
    body.add(FUR, rump + vec(body.between(0, 0.6) * girth, wide, -0.2 * girth), thigh, hinges=hip, both=0.0)
    foot = girth * np.array([body.between(0.4, 1.1), body.between(0.15, 0.35), body.between(0.12, 0.3)])
    toes = vec(rump[0] + body.between(0.2, 1.0) * girth, wide, ground + foot[2])
    body.add(FUR if body.chance(0.6) else DARK, toes, foot, hinges=hip, both=0.0)
    thick = body.between(0.035, 0.09)
    shoulder = front + vec(0.2 * girth, girth * body.between(0.3, 0.75), -0.2 * girth)
    if body.chance(0.7):  # front legs that reach the ground, or paws held up
        _leg(body, shoulder, max(shoulder[2] - ground, 0.1), thick, sway, 0.0, body.between(0, 0.5))
    else:
        arm = np.array([body.between(0.3, 1), body.between(-0.3, 0.5), body.between(-1, 0.3)])
        steps = [arm * body.between(0.1, 0.3), arm * [1.4, -0.3, 0.5] * body.between(0.06, 0.2)]
        body.limb(
            FUR, shoulder, steps, [thick, thick * 0.8], swing=0.3, hinges=sway, both=body.between(0, 0.5)
        )
    size = body.between(0.15, 0.36)
    head(body, front + vec(size * body.between(0.1, 0.7), 0, size * body.between(0.5, 1.0)), size, sway)
    if body.chance(0.8):
        _tail(body, rump + vec(-0.7 * girth, 0, -0.2 * girth), body.between(0.15, 0.7), sway)


def biped(body: Body) -> None:
    """People, apes, bears on hind legs, robots: an upright torso, arms, legs, a head on top."""
    tall, wide = body.between(0.35, 0.7), body.between(0.12, 0.3)
    sway = (body.hinge((0, 0, 0), (0, 1, 0), 0.06), body.hinge((0, 0, 0), (0, 0, 1), 0.1))
    body.add(
        FUR if body.chance(0.5) else SECOND,
        (0, 0, tall / 2),
        (wide * body.between(0.55, 1), wide, tall * 0.58),
        taper=body.between(-0.4, 0.35),
        hinges=sway,
    )
    if body.chance(0.5):
        body.add(DARK, (0, 0, 0.02), (wide * 0.75, wide * 0.9, wide * body.between(0.4, 0.9)), hinges=sway)
    if body.chance(0.3):
        body.add(BELLY, (wide * 0.3, 0, tall * 0.45), (wide * 0.6, wide * 0.75, tall * 0.4), hinges=sway)
    thick = body.between(0.035, 0.1)
    _leg(
        body,
        np.array([0, wide * body.between(0.35, 0.7), 0]),
        body.between(0.15, 0.75),
        thick,
        sway,
        0.0,
        0.5,
    )
    length = body.between(0.2, 0.7)
    lift = body.between(-1, 0.3) if body.chance(0.85) else body.between(0.3, 1)
    upper = np.array([body.between(-0.2, 0.4), body.between(0.2, 0.9), lift])
    lower = upper * [1, 0.3, 1] + vec(body.between(0, 1), 0, 0)
    steps = [v / np.linalg.norm(v) * length / 2 for v in (upper, lower)]
    end, joints = body.limb(
        FUR if body.chance(0.6) else SECOND,
        (0, wide * 0.9, tall * body.between(0.75, 0.95)),
        steps,
        [thick * body.between(0.7, 1.3), thick * body.between(0.6, 1.2)],
        swing=body.between(0.1, 0.6),
        hinges=sway,
        both=0.5,
    )
    body.add(BELLY, end, np.full(3, thick * body.between(0.9, 1.8)), hinges=joints, both=0.5)
    if body.chance(0.3):  # something in the left hand, or in both
        tool = np.array([body.between(0.3, 1), 0, body.between(-0.5, 1)]) * body.between(0.2, 0.6)
        both = 0.5 if body.chance(0.2) else None
        body.limb(
            BRIGHT, end - tool * 0.3, [tool], [body.between(0.015, 0.05)], swing=0.0, hinges=joints, both=both
        )
    size = body.between(0.12, 0.4)
    head(body, (body.between(0, 0.1), 0, tall + size * 0.8), size, sway)
    if body.chance(0.3):
        _tail(body, np.array([-wide * 0.7, 0, 0.05]), body.between(0.2, 0.8), sway)
    if body.chance(0.12):  # a cape, a pack
        body.add(
            BRIGHT,
            (-wide * 0.8, 0, tall * 0.4),
            (wide * body.between(0.1, 0.5), wide, tall * 0.5),
            hinges=sway,
        )


def bird(body: Body) -> None:
    """Birds and upright small dragons: a round body on two thin legs, wings, a beak."""
    girth = body.between(0.2, 0.4)
    tilt = body.between(-60, 0)
    sway = _trunk(body, body.between(0.6, 1.0), girth, tilt)
    frame = turn("y", 90 + tilt)
    _leg(
        body,
        np.array([0, girth * 0.45, -0.6 * girth]),
        body.between(0.15, 0.8),
        body.between(0.02, 0.06),
        sway,
        0.0,
        0.5,
    )
    _wings(body, frame @ (0, 0, 0.15) + vec(0, girth * 0.8, girth * 0.2), body.between(0.3, 1.1), sway)
    front = frame @ (0, 0, body.between(0.3, 0.45))
    size = body.between(0.14, 0.3)
    step = np.array([body.between(0, 0.6), 0, 1]) * body.between(0.05, 0.6)
    end, joints = body.limb(FUR, front, [step], [size * body.between(0.4, 0.9)], swing=0.15, hinges=sway)
    head(body, end + vec(0.2 * size, 0, 0.2 * size), size, joints, beak=body.chance(0.85))
    fan = (body.between(0.02, 0.06), body.between(0.08, 0.25), body.between(0.15, 0.45))
    tail = frame @ (0, 0, -0.5)
    wag = (body.hinge(tail, (0, 1, 0), 0.15), *sway)
    body.add(SECOND, tail + vec(-fan[2] * 0.5, 0, 0), fan, turn("y", -90 + body.between(-40, 40)), hinges=wag)


def fish(body: Body) -> None:
    """Fish, sharks, whales: a body that swings from the middle on, and fins."""
    tall, wide = body.between(0.12, 0.4), body.between(0.07, 0.28)
    sway = (body.hinge((0.2, 0, 0), (0, 0, 1), 0.1),)
    body.add(FUR, (0.1, 0, 0), (tall, wide, 0.42), turn("y", 90), taper=body.between(-0.1, 0.4), hinges=sway)
    if body.chance(0.6):
        body.add(BELLY, (0.1, 0, -0.15 * tall), (tall * 0.9, wide * 0.93, 0.38), turn("y", 90), hinges=sway)
    level = body.chance(0.2)
    axis = (0, 1, 0) if level else (0, 0, 1)
    count = int(body.rng.integers(1, 4))
    end, joints = body.limb(
        FUR,
        (-0.2, 0, 0),
        [(-body.between(0.25, 0.5) / count, 0, 0)] * count,
        [tall * (0.7 - 0.15 * i) for i in range(count)],
        axis=axis,
        swing=0.25,
        flat=wide / tall,
        hinges=sway,
    )
    span, thin = body.between(0.15, 0.4), body.between(0.012, 0.04)
    for side in (1, -1):
        lean = turn("y", side * body.between(20, 60))
        place = end + lean @ (0, 0, side * span * 0.6)
        if level:
            place, lean = end + vec(-0.3 * span, side * span * 0.6, 0), turn("x", side * 75)
        size = (span * body.between(0.25, 0.5), thin, span) if not level else (span * 0.4, thin, span)
        body.add(SECOND, place, size, lean, hinges=joints)
    for top in (1, -1):  # on the back, below
        if body.chance(0.7 if top > 0 else 0.4):
            size = (body.between(0.08, 0.3), thin, body.between(0.1, 0.35))
            where = (body.between(-0.2, 0.2), 0, top * (tall + size[2] * 0.3))
            body.add(SECOND, where, size, turn("y", -top * body.between(0, 45)), hinges=sway)
    fin = np.array([-0.5, 1, body.between(-0.6, 0.2)]) * body.between(0.12, 0.45)
    body.limb(
        SECOND, (0.2, wide * 0.8, -0.3 * tall), [fin], [thin], axis=(1, 0, 0), flat=5, hinges=sway, both=0.0
    )
    eye = np.full(3, min(tall, wide) * body.between(0.12, 0.3))
    body.add(DARK, (0.1 + 0.42 * 0.65, wide * 0.7, tall * 0.2), eye, hinges=sway, both=0.0)


def bug(body: Body) -> None:
    """Bees, spiders, crabs: two or three lumps, many legs, feelers, wings now and then."""
    sizes = [body.between(0.12, 0.35) for _ in range(int(body.rng.integers(1, 4)))]
    sway = (body.hinge((0, 0, 0), (0, 1, 0), 0.08),)
    x = 0.0
    for i, size in enumerate(sizes):
        radii = size * body.rng.uniform(0.75, 1.25, 3)
        x -= radii[0] * 0.8 if i else 0
        body.add(FUR if i != 1 else SECOND, (x, 0, 0), radii[[2, 1, 0]], turn("y", 90), hinges=sway)
        x -= radii[0] * 0.8
    count, thick = int(body.rng.integers(2, 5)), body.between(0.015, 0.05)
    length = body.between(0.2, 0.6)
    for i in range(count):
        ahead = (i / (count - 1) - 0.5) * 1.2
        out = np.array([ahead, 1, body.between(-0.2, 0.6)]) * length * 0.5
        down = np.array([ahead * 0.5, 0.35, -1]) * length * body.between(0.4, 0.7)
        root = (x * 0.4 + ahead * 0.25, sizes[0] * 0.5, -0.1)
        body.limb(
            DARK, root, [out, down], [thick, thick * 0.7], axis=(0, 0, 1), phase=i / 2, hinges=sway, both=0.5
        )
    size = body.between(0.1, 0.25)
    head(body, (sizes[0] + size * 0.4, 0, body.between(-0.05, 0.15)), size, sway, beak=body.chance(0.3))
    if body.chance(0.7):
        feeler = np.array([1, body.between(0.1, 0.7), body.between(0, 1)]) * body.between(0.1, 0.3)
        root = (sizes[0] + size * 0.8, size * 0.4, size * 0.6)
        body.limb(DARK, root, [feeler, feeler * [0.7, 1, 0.3]], [0.015, 0.012], hinges=sway, both=0.0)
    if body.chance(0.5):
        _wings(body, np.array([-0.05, sizes[0] * 0.3, sizes[0] * 0.7]), body.between(0.3, 0.8), sway)


def monster(body: Body) -> None:
    """All head: a round thing with a face, short limbs, horns, feelers, wings."""
    size = body.between(0.35, 0.5)
    sway = (body.hinge((0, 0, -size), (0, 1, 0), 0.12), body.hinge((0, 0, -size), (1, 0, 0), 0.08))
    head(body, (0, 0, 0), size, sway)
    thick = body.between(0.05, 0.14)
    _leg(body, np.array([0, size * 0.45, -0.7 * size]), body.between(0.15, 0.5), thick, sway, 0.0, 0.5)
    if body.chance(0.6):
        arm = np.array([body.between(0, 0.6), 1, body.between(-0.9, 0.6)]) * body.between(0.12, 0.35)
        body.limb(
            FUR if body.chance(0.6) else DARK,
            (0, size * 0.85, -0.1 * size),
            [arm],
            [thick * body.between(0.5, 1)],
            hinges=sway,
            both=0.5 if body.chance(0.5) else 0.0,
        )
    if body.chance(0.3):
        _wings(body, np.array([-0.3 * size, size * 0.7, 0.1]), body.between(0.3, 0.7), sway)
    if body.chance(0.4):
        _tail(body, np.array([-0.9 * size, 0, -0.3 * size]), body.between(0.2, 0.6), sway)


def snake(body: Body) -> None:
    """Snakes and worms: a chain that winds, its front raised now and then."""
    count = int(body.rng.integers(5, 10))
    thick = body.between(0.05, 0.14)
    rise = body.between(0, 1) if body.chance(0.6) else 0.0
    wind, turns = body.between(0.1, 1.1), body.between(0.4, 1.4)
    steps = []
    for i in range(count):
        heading = wind * np.sin(2 * np.pi * turns * i / count)
        steps.append(
            np.array([-np.cos(heading), np.sin(heading), -rise if i < count / 3 else 0]) * 1.3 / count
        )
    radii = [thick * (1.1 - 0.9 * (i / count) ** 2) for i in range(count)]
    root = np.array([0.5, 0, rise * 0.4])
    body.limb(FUR, root, steps, radii, axis=(0, 0, 1), swing=0.2)
    head(body, root + vec(thick * 0.8, 0, thick * 0.4), thick * body.between(1, 2))
    if body.chance(0.2):
        body.add(SECOND, root - vec(0, 0, thick), (thick * 0.5, thick * 2.5, thick * 3))


def dinosaur(body: Body) -> None:
    """Two strong legs below a level body, a long tail, small arms, a large head."""
    girth = body.between(0.13, 0.26)
    sway = _trunk(body, body.between(0.5, 0.8), girth, body.between(-35, 5))
    thick = body.between(0.04, 0.09)
    _leg(body, np.array([-0.05, girth * 0.8, -0.2 * girth]), body.between(0.3, 0.7), thick, sway, 0.0, 0.5)
    count = int(body.rng.integers(2, 6))
    step = np.array([-1, 0, body.between(-0.3, 0.4)]) * body.between(0.4, 1.0) / count
    radii = [girth * (0.75 - 0.65 * i / count) for i in range(count)]
    body.limb(FUR, (-0.2, 0, 0), [step] * count, radii, axis=(0, 0, 1), swing=0.12, hinges=sway)
    neck = np.array([1, 0, body.between(0, 1.5)]) * body.between(0.12, 0.4)
    size = body.between(0.1, 0.25)
    end, joints = body.limb(FUR, (0.22, 0, 0.3 * girth), [neck], [girth * 0.6], swing=0.15, hinges=sway)
    head(body, end + vec(size * 0.7, 0, 0), size, joints)
    arm = np.array([0.6, 0.2, -1]) * body.between(0.08, 0.3)
    body.limb(
        FUR,
        (0.2, girth * 0.7, -0.2 * girth),
        [arm, arm * [1.5, 0, 0.3]],
        [0.035, 0.03],
        hinges=sway,
        both=0.5,
    )
    if body.chance(0.4):  # plates along the back
        for x in np.linspace(-0.3, 0.25, 5):
            body.add(BRIGHT, (x, 0, girth), (0.05, 0.02, body.between(0.06, 0.2)), taper=0.5, hinges=sway)
