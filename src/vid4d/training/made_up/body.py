"""Parts of made-up animals and the hinges that move them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

Vector = Sequence[float] | Float[np.ndarray, "3"]

POSES = 16
"""Of a motion: one cycle."""

MIRROR = np.array([1.0, -1.0, 1.0])
"""Left to right: the front is +x, left is +y, up is +z."""


@dataclass(frozen=True)
class Hinge:
    """A joint that swings over a cycle, in every motion of its animal by other angles.

    pivot, axis: at rest. bias, swing (motions,): middle and amplitude of its angle in each motion, radians.
    phase: share of a cycle by which it is late. beats: swings in a cycle.
    """

    pivot: Float[np.ndarray, "3"]
    axis: Float[np.ndarray, "3"]
    bias: Float[np.ndarray, " m"]
    swing: Float[np.ndarray, " m"]
    phase: float = 0.0
    beats: int = 1

    def mirrored(self, late: float) -> Hinge:
        """The same joint of the other side; one in the middle is both sides' own, and moves them alike.

        late: how far the other side's is behind, share of a cycle.
        """
        if self.pivot[1] == 0:
            return self
        return replace(
            self, pivot=self.pivot * MIRROR, axis=-self.axis * MIRROR, phase=self.phase + late * self.beats
        )

    def rotations(self) -> Float[np.ndarray, "k 3 3"]:
        """Turns about the joint in all poses: motion by motion, POSES each."""
        time = np.arange(POSES) / POSES
        wave = np.sin(2 * np.pi * (self.beats * time - self.phase))
        return turns(self.axis, (self.bias[:, None] + self.swing[:, None] * wave).reshape(-1))


def vec(x: float, y: float, z: float) -> Float[np.ndarray, "3"]:
    """A point or direction: forwards, to the left, up."""
    return np.array([x, y, z], float)


def turns(axis: Float[np.ndarray, "3"], angle: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k 3 3"]:
    """Rotation matrices about an axis (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    s, c = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + s * skew + (1 - c) * (skew @ skew)


def turn(axis: str, degrees: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about x, y or z; about y, positive angles bring the nose (+x) down."""
    return turns(np.eye(3)["xyz".index(axis)], np.array([math.radians(degrees)]))[0]


def along(direction: Vector) -> Float[np.ndarray, "3 3"]:
    """Rotation that takes +z to a direction, and keeps +y as far to the left as it can."""
    z = np.asarray(direction, float) / np.linalg.norm(direction)
    left = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
    x = np.cross(left, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], 1)


@dataclass(frozen=True)
class Part:
    """One closed surface. coat: row of the animal's texture. hinges: from its own joint up to the body's."""

    points: Float[np.ndarray, "v 3"]
    coat: int
    hinges: tuple[Hinge, ...] = ()

    def mirrored(self, late: float) -> Part:
        """The other side's part (`Hinge.mirrored`)."""
        return Part(self.points * MIRROR, self.coat, tuple(h.mirrored(late) for h in self.hinges))

    def posed(self, motions: int) -> Float[np.ndarray, "k v 3"]:
        """Its points in all poses of all motions."""
        turned, moved = np.tile(np.eye(3), (motions * POSES, 1, 1)), np.zeros((motions * POSES, 3, 1))
        for hinge in self.hinges:
            rotation, pivot = hinge.rotations(), hinge.pivot[:, None]
            turned, moved = rotation @ turned, rotation @ (moved - pivot) + pivot
        return self.points @ turned.transpose(0, 2, 1) + moved.transpose(0, 2, 1)


@dataclass(frozen=True)
class Grid:
    """Longitudes and latitudes that all parts of an animal share.

    rings, segments: how many. square: exponent of the superquadric (Barr 1981): 1 is a sphere, 0.3 nearly
    a box, 1.5 nearly an octahedron.
    """

    rings: int
    segments: int
    square: float = 1.0

    def surface(self, radii: Vector, taper: float = 0.0) -> Float[np.ndarray, "v 3"]:
        """A superquadric along z; wider towards its lower end by taper, narrower towards the upper."""
        v = np.linspace(0, np.pi, self.rings + 1)[:, None]
        u = np.arange(self.segments) * (2 * np.pi / self.segments)

        def power(values: np.ndarray) -> np.ndarray:
            return np.sign(values) * np.abs(values) ** self.square

        flat = np.maximum(power(np.sin(v)), 0)
        unit = np.stack([flat * power(np.cos(u)), flat * power(np.sin(u)), power(np.cos(v)) + 0 * u], -1)
        unit = unit.reshape(-1, 3)
        points = unit * np.asarray(radii, float)
        points[:, :2] *= 1 - taper * unit[:, 2:]
        return points

    def faces(self) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "f 3"]]:
        """Corners of the triangles as numbers of points, and as numbers of `uv`'s rows."""
        ring, left = np.divmod(np.arange(self.rings * self.segments), self.segments)

        def two(width: int, right: np.ndarray) -> np.ndarray:
            a, d = ring * width + left, ring * width + right
            b, c = a + width, d + width
            return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])

        return two(self.segments, (left + 1) % self.segments), two(self.segments + 1, left + 1)

    def uv(self) -> Float[np.ndarray, "t 2"]:
        """Texture coordinates: around, and down from the upper end; within a coat's own tile."""
        v, u = np.meshgrid(
            np.linspace(0, 1, self.rings + 1), np.linspace(0, 1, self.segments + 1), indexing="ij"
        )
        return np.stack([u, v], -1).reshape(-1, 2).clip(0.001, 0.999)


@dataclass
class Body:
    """An animal while it is put together. motions: how many cycles it gets."""

    rng: np.random.Generator
    grid: Grid
    motions: int = 2
    parts: list[Part] = field(default_factory=list)

    def between(self, low: float, high: float) -> float:
        """A number drawn evenly."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """Whether something with this probability is so."""
        return bool(self.rng.random() < share)

    def hinge(
        self, pivot: Vector, axis: Vector, swing: float, phase: float = 0.0, bias: float = 0.15
    ) -> Hinge:
        """A joint that swings by about `swing` radians, around a middle that is off by about `bias`."""
        m = self.motions
        return Hinge(
            np.asarray(pivot, float),
            np.asarray(axis, float),
            self.rng.normal(0, bias, m),
            swing * self.rng.uniform(0.3, 1.4, m),
            phase,
            2 if self.chance(0.1) else 1,
        )

    def add(
        self,
        coat: int,
        center: Vector,
        radii: Vector,
        rotation: Float[np.ndarray, "3 3"] | None = None,
        *,
        taper: float = 0.0,
        hinges: tuple[Hinge, ...] = (),
        both: float | None = None,
    ) -> None:
        """A part about its center; with its mirror image where `both` says how late that one is."""
        points = self.grid.surface(radii, taper) @ (np.eye(3) if rotation is None else rotation).T
        part = Part(points + np.asarray(center, float), coat, hinges)
        self.parts.append(part)
        if both is not None:
            self.parts.append(part.mirrored(both))

    def limb(
        self,
        coat: int,
        root: Vector,
        steps: Sequence[Vector],
        radii: Sequence[float],
        *,
        axis: Vector = (0, 1, 0),
        swing: float = 0.4,
        phase: float = 0.0,
        flat: float = 1.0,
        hinges: tuple[Hinge, ...] = (),
        both: float | None = None,
    ) -> tuple[Float[np.ndarray, "3"], tuple[Hinge, ...]]:
        """Segments end to end from a root; returns where it ends, and the hinges of what is put there.

        steps: from joint to joint. radii: of each segment. axis, swing, phase: of its joints, each a little
        later than the one before. flat: width across the limb over its thickness.
        """
        at = np.asarray(root, float)
        for i, (step, radius) in enumerate(zip(steps, radii, strict=True)):
            hinges = (self.hinge(at, axis, swing, phase + 0.08 * i), *hinges)
            length = float(np.linalg.norm(step))
            middle = at + np.asarray(step, float) / 2
            size = (radius, radius * flat, length / 2 + 0.6 * radius)
            self.add(coat, middle, size, along(step), taper=self.between(-0.3, 0.1), hinges=hinges, both=both)
            at = at + np.asarray(step, float)
        return at, hinges
