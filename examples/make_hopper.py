"""Makes examples/hopper.mp4, the clip of `make demo`: a small animal of our own that hops on the spot.

Everything is built here from deformed spheres and posed by a few curves over one cycle; the renderer is the
one that makes the training views. Run it with a folder or a name as its argument, or bare to replace it; with
`--truth FOLDER` it writes what an asset of the clip is judged by (docs/evaluation.md).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from vid4d.cameras import Cameras
from vid4d.export.glb import glb_bytes
from vid4d.files.write import note_written, written_whole
from vid4d.matrix.io import save_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over
from vid4d.media.video import write_mp4
from vid4d.meshing.marching_cubes import vertex_normals
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.tsdf import Mesh
from vid4d.metrics import Sides
from vid4d.training.mesh_render import fit_to_frame, render_meshes, render_with_depth
from vid4d.training.meshes import MeshBank, MeshBatch, TrainingMesh

FRAMES, FPS, SIZE = 24, 20, 256
AZIMUTH, ELEVATION = 42.0, 10.0
"""Of the camera, degrees: it sees the animal, which faces +x, from its front left."""

FILL = 0.82
"""Share of the picture's width or height that the whole hop takes."""

BACKGROUND = (0.70, 0.79, 0.88)

COLORS = {
    "fur": (226, 122, 48),
    "back": (150, 66, 30),
    "cream": (255, 222, 160),
    "dark": (96, 44, 28),
    "pink": (240, 120, 130),
    "scarf": (30, 125, 82),
    "stripe": (250, 205, 40),
    "tail": (255, 236, 205),
    "black": (24, 20, 24),
    "white": (255, 250, 240),
}


def curve(*keys: tuple[float, float]) -> Callable[[float], float]:
    """A smooth periodic curve through (phase, value) keys; the first key's phase is 0."""
    phases, values = zip(*keys, (1.0, keys[0][1]), strict=True)
    spline = CubicSpline(phases, values, bc_type="periodic")
    return lambda phase: float(spline(phase % 1.0))


# Phases: 0 stands, 0.16 crouches, 0.32 leaves the ground, 0.54 highest, 0.76 lands, 0.86 absorbs it.
squash = curve((0, 1.0), (0.16, 0.8), (0.32, 1.14), (0.54, 1.0), (0.74, 1.07), (0.86, 0.84))
pitch = curve((0, 0.0), (0.16, 8.0), (0.34, -20.0), (0.56, -2.0), (0.76, 13.0), (0.9, 4.0))
hind = curve((0, 0.0), (0.2, 0.0), (0.36, 50.0), (0.56, 28.0), (0.72, -14.0), (0.8, 0.0), (0.9, 0.0))
fore = curve((0, 0.0), (0.16, 10.0), (0.4, -20.0), (0.6, -46.0), (0.76, -20.0), (0.88, 6.0))
nod = curve((0, 0.0), (0.2, 6.0), (0.4, 10.0), (0.6, -4.0), (0.82, -12.0))


def height(phase: float) -> float:
    """Of the feet over the ground: a ballistic arc between take-off and landing."""
    u = (phase % 1.0 - 0.3) / 0.48
    return 1.05 * u * (1 - u) if 0 < u < 1 else 0.0


def ear_lag(phase: float) -> float:
    """Degrees by which the ears fall behind: back while the body rises, up while it sinks, a moment late."""
    phases = phase - np.linspace(0.0, 0.14, 8)
    rise = [height(p + 0.02) - height(p - 0.02) + 0.3 * (squash(p + 0.02) - squash(p - 0.02)) for p in phases]
    return float(np.clip(np.mean(rise) * 420, -26, 42))


def turn(degrees: float, axis: str) -> np.ndarray:
    """A rotation matrix about x, y or z; about y, positive angles bring the nose (+x) down."""
    a = np.radians(degrees)
    c, s = np.cos(a), np.sin(a)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def about(points: np.ndarray, pivot: tuple[float, float, float], rotation: np.ndarray) -> np.ndarray:
    return (points - pivot) @ rotation.T + pivot


def sphere(rings: int = 20, segments: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and counter-clockwise faces of a unit sphere around z, poles and seam shared."""
    v = np.linspace(0, np.pi, rings + 1)[1:-1, None]
    u = np.linspace(0, 2 * np.pi, segments, endpoint=False)[None]
    body = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v) + 0 * u], -1).reshape(-1, 3)
    points = np.concatenate([[[0, 0, 1]], body, [[0, 0, -1]]])
    faces = []
    for s in range(segments):
        n = (s + 1) % segments
        faces.append((0, 1 + s, 1 + n))
        for r in range(rings - 2):
            a, b = 1 + r * segments, 1 + (r + 1) * segments
            faces += [(a + s, b + s, b + n), (a + s, b + n, a + n)]
        last = 1 + (rings - 2) * segments
        faces.append((last + s, len(points) - 1, last + n))
    return points, np.array(faces)


@dataclass(frozen=True)
class Part:
    """A deformed sphere of one color; group: how it moves (body, head, ear, tail, thigh, fore or hind)."""

    color: str
    group: str
    points: np.ndarray


UNIT, UNIT_FACES = sphere()


def blob(
    color: str,
    group: str,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    rotation: np.ndarray | None = None,
    taper: float = 0.0,
) -> Part:
    """An ellipsoid, thinner towards its +z end by `taper`, turned about its own centre, then placed."""
    points = UNIT * radii
    points[:, :2] *= 1 - taper * UNIT[:, 2:]
    return Part(color, group, points @ (np.eye(3) if rotation is None else rotation).T + centre)


def pair(
    color: str,
    group: str,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    rotation: np.ndarray | None = None,
    taper: float = 0.0,
) -> list[Part]:
    """The left part as given (y > 0) and its mirror image on the right."""
    left = blob(color, group, centre, radii, rotation, taper)
    return [left, Part(color, group, left.points * (1, -1, 1))]


EAR = (0.24, 0.1, 1.08)


def parts() -> list[Part]:
    """The animal at rest: it faces +x and stands on z = 0."""
    ear = turn(-14, "x") @ turn(-16, "y")
    up = ear @ (0, 0, 0.25)
    front = ear @ (0.05, 0, 0)
    middle = (EAR[0] + up[0], EAR[1] + up[1], EAR[2] + up[2])
    inner = tuple(np.add(middle, front))
    tip = tuple(np.add(EAR, ear @ (0, 0, 0.45)))
    return [
        blob("fur", "body", (-0.06, 0, 0.45), (0.45, 0.37, 0.37), turn(-18, "y")),
        blob("back", "body", (-0.16, 0, 0.53), (0.38, 0.28, 0.325), turn(-18, "y")),
        blob("cream", "body", (0.1, 0, 0.38), (0.32, 0.28, 0.29), turn(-30, "y")),
        blob("tail", "tail", (-0.53, 0, 0.42), (0.15, 0.15, 0.15)),
        blob("scarf", "body", (0.24, 0, 0.695), (0.225, 0.24, 0.085), turn(18, "y")),
        blob("stripe", "body", (0.245, 0, 0.695), (0.232, 0.247, 0.03), turn(18, "y")),
        blob("scarf", "body", (0.28, 0.235, 0.58), (0.05, 0.045, 0.15), turn(14, "x"), taper=-0.3),
        blob("fur", "head", (0.32, 0, 0.93), (0.31, 0.31, 0.275)),
        blob("back", "head", (0.26, 0, 0.99), (0.265, 0.17, 0.24)),
        *pair("cream", "head", (0.5, 0.09, 0.845), (0.13, 0.12, 0.1)),
        blob("pink", "head", (0.64, 0, 0.9), (0.04, 0.05, 0.035)),
        *pair("white", "head", (0.49, 0.165, 0.985), (0.08, 0.08, 0.1)),
        *pair("black", "head", (0.532, 0.195, 0.985), (0.05, 0.052, 0.07)),
        *pair("white", "head", (0.575, 0.207, 1.015), (0.017, 0.02, 0.022)),
        *pair("fur", "ear", middle, (0.075, 0.12, 0.29), ear, taper=-0.15),
        *pair("pink", "ear", inner, (0.042, 0.08, 0.21), ear, taper=-0.15),
        *pair("dark", "ear", tip, (0.07, 0.108, 0.1), ear),
        *pair("fur", "thigh", (-0.2, 0.29, 0.28), (0.25, 0.14, 0.24), turn(-12, "y")),
        *pair("dark", "hind", (-0.02, 0.3, 0.08), (0.27, 0.11, 0.08), turn(5, "z")),
        *pair("fur", "fore", (0.27, 0.12, 0.27), (0.1, 0.1, 0.22), turn(6, "y")),
        *pair("dark", "fore", (0.31, 0.13, 0.07), (0.12, 0.1, 0.075)),
    ]


def posed(part: Part, phase: float) -> np.ndarray:
    """The part's vertices at a phase of the hop."""
    points = part.points
    side = np.sign(points[:, 1].mean())
    if part.group == "ear":
        root = (EAR[0], side * EAR[1], EAR[2])
        reach = np.clip(((points - root) ** 2).sum(1, keepdims=True) ** 0.5 / 0.55, 0, 1)
        lag, late = ear_lag(phase), ear_lag(phase - 0.05)
        bent = about(points, root, turn(-late, "y"))
        points = about(points, root, turn(-lag, "y")) * (1 - reach) + bent * reach
    if part.group in ("ear", "head"):
        points = about(points, (0.2, 0, 0.74), turn(nod(phase), "y"))
    if part.group == "tail":
        points = about(points, (-0.4, 0, 0.42), turn(0.6 * ear_lag(phase - 0.04), "y"))
    lift = np.array([0, 0, height(phase)])
    air = min(1.0, height(phase) / 0.1)
    if part.group == "hind":  # on the ground, or trailing and then reaching for it
        return about(points, (-0.2, 0, 0.16), turn(hind(phase) * air, "y")) + lift
    s = squash(phase)
    points = points * (s**-0.5, s**-0.5, s)
    if part.group == "fore":
        return about(points, (0.2, 0, 0.42 * s), turn(fore(phase) * air, "y")) + lift
    return about(points, (-0.2, 0, 0.16), turn(pitch(phase), "y")) + lift


def hopper(frames: int = FRAMES) -> TrainingMesh:
    """The animal as one mesh with a pose per frame of its cycle."""
    model = parts()
    phases = np.arange(frames) / frames
    poses = np.stack([np.concatenate([posed(part, phase) for part in model]) for phase in phases])
    poses[..., 2] += np.maximum(0, -poses[..., 2].min(1, keepdims=True))  # toes push off, they do not sink in
    faces = np.concatenate([UNIT_FACES + i * len(UNIT) for i in range(len(model))])
    names = list(COLORS)
    swatch = np.repeat([names.index(part.color) for part in model], len(UNIT_FACES))
    texture = np.array([[(*COLORS[name], 255) for name in names]], np.uint8)
    uv = np.stack([(np.arange(len(names)) + 0.5) / len(names), np.full(len(names), 0.5)], 1)
    return TrainingMesh(
        name="hopper",
        poses=poses.astype(np.float32),
        faces=faces,
        uv=uv.astype(np.float32),
        uv_faces=np.repeat(swatch[:, None], 3, 1),
        smooth=np.ones(len(faces), bool),
        texture=texture,
    )


def pictures(azimuth: float = AZIMUTH, elevation: float = ELEVATION, size: int = SIZE) -> torch.Tensor:
    """The clip seen from a direction: RGB over the background, (frames, size, size, 3) in [0, 1]."""
    bank = MeshBank([hopper()])
    count = int(bank.n_poses[0])
    batch = bank.batch(torch.zeros(count, dtype=torch.long), torch.arange(count))
    group = torch.zeros(count, dtype=torch.long)
    batch = fit_to_frame(batch, Cameras.orbit(azimuth, elevation, size=size), fill=FILL, group=group)
    cameras = Cameras.orbit([azimuth] * count, elevation, size=size)
    rgba = render_meshes(batch, cameras, torch.arange(count), supersample=3)
    return over(rgba, torch.tensor(BACKGROUND))


TRUTH_AZIMUTHS = (0.0, 22.5, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0, 337.5)
"""Of the truth's views, degrees from the clip's camera."""

TRUTH_MOMENTS = (0, 3, 6, 9, 12, 15, 18, 21)
"""Frames of the clip that they see."""


def framed() -> MeshBatch:
    """The animal in all frames, turned so that the clip's camera is at azimuth 0, and framed as clips are: it
    stands where an asset of the clip should."""
    bank = MeshBank([hopper()])
    count = int(bank.n_poses[0])
    batch = bank.batch(torch.zeros(count, dtype=torch.long), torch.arange(count))
    a = -math.radians(AZIMUTH)
    turned = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    batch = replace(batch, vertices=batch.vertices @ turned.T)
    group = torch.zeros(count, dtype=torch.long)
    return fit_to_frame(batch, Cameras.orbit(0.0, ELEVATION), group=group)


def truth_of(moments: Sequence[int], cameras: Cameras) -> Sides:
    """What cameras see of the animal at some frames of the clip; square pictures."""
    batch, size = framed(), cameras.width
    owners = (torch.full((len(cameras),), i) for i in moments)
    rgba, depth = zip(*(render_with_depth(batch, cameras, owner) for owner in owners), strict=True)
    nearest = [d.unflatten(2, (size, -1)).unflatten(1, (size, -1)).amin((2, 4)) for d in depth]
    return Sides(cameras, torch.stack(rgba, 1), torch.stack(nearest, 1))


def moving_mesh() -> MeshSequence:
    """The animal as a mesh that moves, where `framed` puts it; its colors are those without light."""
    model, frames = hopper(), FRAMES
    poses = framed().vertices.view(frames, -1, 3).double().numpy()
    names = [part.color for part in parts()]
    colors = np.repeat([COLORS[name] for name in names], len(UNIT), 0) / 255
    meshes = tuple(Mesh(p, model.faces, vertex_normals(p, model.faces), colors) for p in poses)
    return MeshSequence(tuple(i / frames for i in range(frames)), meshes)


def write_truth(folder: Path) -> Path:
    """What `vid4d evaluate --truth` takes: views of all sides with their cameras, and the animal itself."""
    cameras = Cameras.orbit(TRUTH_AZIMUTHS, ELEVATION, size=SIZE)
    times = torch.tensor(TRUTH_MOMENTS) / FRAMES
    seconds = FRAMES / FPS
    pictures = truth_of(TRUTH_MOMENTS, cameras).rgba
    save_matrix(ImageMatrix(pictures, cameras, times, seconds=seconds, cyclic=True), folder)
    with written_whole(folder / "mesh.glb") as mesh:
        mesh.write_bytes(glb_bytes(moving_mesh(), seconds=seconds, cyclic=True))
    note_written(folder, "mesh.glb")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the example clip.")
    parser.add_argument("target", type=Path, nargs="?", default=Path(__file__).with_name("hopper.mp4"))
    parser.add_argument("--truth", type=Path, help="instead of the clip: a folder for vid4d evaluate --truth")
    options = parser.parse_args()
    if options.truth is not None:
        print(write_truth(options.truth))
        return
    target: Path = options.target
    target = target / "hopper.mp4" if target.is_dir() else target
    print(write_mp4(target, pictures().numpy(), FPS))


if __name__ == "__main__":
    main()
