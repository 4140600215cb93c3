"""Does the moving mesh follow the material? Exported meshes against models whose vertices are known.

    python benchmarks/mesh_motion.py --models 6 --cache DIR [--iterations 300]

Gaussians are fitted to rendered truth (the row `truth` of asset_rows.py: 16 views of the first motion of
models that no prior saw), so that what is measured is the mesh, not a prior. At every moment:

- distance: mean of the distance from a point on the mesh to the true surface, and from one on that to the
  mesh (half the sum of both; CD-L1 of papers); parts of the truth that nobody sees, inside others, are left
  out.
- drift: points spread over the mesh at the first moment are tied to the nearest points of the true surface.
  Both move on; drift is by how much their displacements differ. Mean and 90th percentile over points and
  moments. `standing still` is what a mesh that never moves would drift.
- parts: of the sequence that share their faces; drift is counted from the first moment of each.

World units, of which the object has about one, times 1000.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from asset_rows import DEFAULT_ASSETS, FRAMES, SIZE, asset_of, matrix_of, models, way_of
from comparisons import Places
from scipy.spatial import cKDTree

from vid4d.asset import Asset
from vid4d.export.meshes import sequence_of
from vid4d.export.options import ExportOptions
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.training.evaluate import TrueClip, posed, true_clips
from vid4d.training.meshes import MeshBank

POINTS = 20_000
"""Points that a surface is compared by."""
ON_SURFACE = 0.03
"""World units: splats that are farther away belong to no place of the true surface."""
HIDDEN = 0.02
"""World units: points of the truth that lie deeper than this behind what is seen are not compared."""


@dataclass(frozen=True)
class Scores:
    """World units, but for seconds and parts."""

    distance: float
    drift: float
    drift_90: float
    still: float
    parts: int
    seconds: float


def seen_points(clip_depth: torch.Tensor, cameras, points: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Mask of the points that one of the views sees. clip_depth: (v, h, w), of one moment."""
    at = torch.from_numpy(points).float()
    seen = torch.zeros(len(points), dtype=torch.bool)
    for depth, pixels, z in zip(clip_depth, *cameras.project(at), strict=True):
        x, y = pixels.floor().long().clamp(0, depth.shape[-1] - 1).T
        seen |= z <= depth[y, x] + HIDDEN
    return seen.numpy()


def scores_of(
    sequence: MeshSequence, true: np.ndarray, faces: np.ndarray, visible: list[np.ndarray], places: Places
) -> tuple[float, float, float, float, int]:
    """See `Scores`. true: (t, v, 3) at the sequence's times. visible: masks of `places`, a moment each."""
    distances, drifts, still = [], [], []
    begin, tied = 0, None
    for i, mesh in enumerate(sequence.meshes):
        own = Places.on(mesh.vertices, mesh.faces, POINTS)
        surface = places.at(true[i])
        points = own.at(mesh.vertices)
        forward = cKDTree(surface).query(points[::4])[0].mean()
        backward = cKDTree(points).query(surface[visible[i]][::4])[0].mean()
        distances.append((forward + backward) / 2)
        if tied is None or not same_faces(sequence.meshes[begin].faces, mesh.faces):
            begin = i
            which = np.flatnonzero(visible[i])[cKDTree(surface[visible[i]]).query(points)[1]]
            tied = own, places.take(which), points, surface[which]
            continue
        exported, material, start, surface_start = tied
        moved = material.at(true[i]) - surface_start
        drifts.append(np.linalg.norm(exported.at(mesh.vertices) - start - moved, axis=1))
        still.append(np.linalg.norm(moved, axis=1))
    parts = len(sequence.meshes) - len(drifts)
    if not drifts:
        return float(np.mean(distances)), *(float("nan"),) * 3, parts
    drift = np.concatenate(drifts)
    mean_still = float(np.concatenate(still).mean())
    return float(np.mean(distances)), float(drift.mean()), float(np.quantile(drift, 0.9)), mean_still, parts


def same_faces(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def splat_motion(gaussians: Gaussians4D, true: np.ndarray, places: Places) -> tuple[float, ...]:
    """Do splats move with the material? From each moment of a loop to the next.

    Median standard deviation in time; share of the splats (opacity 0.3 or more) that are still there
    (0.2 or more); and for those that lie on the true surface, mean distance from where the material goes: of
    splats that keep their velocity, and of such that stand still.
    """
    shape = gaussians.covariance4d()
    lasting, velocity = shape[:, 3, 3].sqrt(), (shape[:, :3, 3] / shape[:, 3, 3:]).numpy()
    count = len(true)
    there, off, still = [], [], []
    for i in range(count):
        now, after = gaussians.at(i / count), gaussians.at((i + 1) / count)
        solid = (now.opacities > 0.3).numpy()
        there.append(float((after.opacities.numpy()[solid] > 0.2).mean()))
        surface = places.at(true[i])
        away, nearest = cKDTree(surface).query(now.means.numpy()[solid])
        moved = (places.at(true[(i + 1) % count]) - surface)[nearest][away < ON_SURFACE]
        carried = velocity[solid][away < ON_SURFACE] / count
        off.append(np.linalg.norm(carried - moved, axis=1))
        still.append(np.linalg.norm(moved, axis=1))
    means = (float(np.concatenate(some).mean()) for some in (off, still))
    return float(lasting.median()), float(np.mean(there)), *means


def asset_gaussians(options: argparse.Namespace, clip: TrueClip) -> tuple[Gaussians4D, ImageMatrix, Path]:
    """What is fitted to a clip's true views, the views, and where that is kept."""
    fit = replace(FitConfig(), iterations=options.iterations, size=SIZE)
    kept = options.cache / f"{clip.name}_truth_{options.iterations}.safetensors"
    matrix = matrix_of(way_of("truth", None), clip, 1, options.cache)
    return asset_of(matrix, fit, kept)[0], matrix, kept


def judge(options: argparse.Namespace, bank: MeshBank, index: int) -> Scores | None:
    """The moving mesh of one model; with `--splats` a line about its splats instead."""
    (clip,) = true_clips(bank, frames=FRAMES, size=SIZE, only=index)
    batch, _, _ = posed(bank, index, frames=FRAMES, size=SIZE)
    count = batch.objects
    vertices = batch.vertices.view(count, -1, 3).numpy()
    faces = batch.faces[batch.face_object == 0].numpy()
    gaussians, matrix, kept = asset_gaussians(options, clip)
    places = Places.on(vertices[0], faces, 4 * POINTS)
    if options.splats:
        told = splat_motion(gaussians, vertices, places)
        print(f"| {clip.name} | {told[0]:.3f} | {told[1]:.2f} | {told[2]:.4f} | {told[3]:.4f} |", flush=True)
        return None
    began = time.process_time()
    asset = Asset(gaussians, AssetMetadata(cyclic=True, elevation=clip.elevation), kept)
    sequence, _ = sequence_of(asset, ExportOptions(frames=count, faces=options.faces))
    seconds = time.process_time() - began
    visible = [seen_points(clip.depth[:, i], matrix.cameras, places.at(v)) for i, v in enumerate(vertices)]
    return Scores(*scores_of(sequence, vertices, faces, visible, places), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--assets", type=Path, default=DEFAULT_ASSETS, help="folder of val and train")
    parser.add_argument("--models", type=int, default=6, help="the first so many of val")
    parser.add_argument("--iterations", type=int, default=300, help="of the fit")
    parser.add_argument("--faces", type=int, default=ExportOptions.faces)
    parser.add_argument("--cache", type=Path, required=True, help="folder where matrices and assets stay")
    parser.add_argument("--splats", action="store_true", help="whether splats move with the material instead")
    options = parser.parse_args()
    bank = MeshBank(models(options.assets, "val", options.models))
    if options.splats:
        print("| model | standard deviation in time | there at the next moment | carried | still |")
        print("|---|---|---|---|---|")
        for index in range(len(bank)):
            judge(options, bank, index)
        return
    print("| model | distance | drift | drift, 90% | standing still | parts | seconds of the processor |")
    print("|---|---|---|---|---|---|---|")
    every = []
    for index, name in enumerate(bank.names):
        s = judge(options, bank, index)
        assert s is not None
        every.append(s)
        print(row(name, s), flush=True)
    mean = {k: float(np.nanmean([getattr(s, k) for s in every])) for k in Scores.__dataclass_fields__}
    print(row("mean", Scores(**mean)))  # type: ignore[arg-type]


def row(name: str, s: Scores) -> str:
    values = [f"{1000 * v:.1f}" for v in (s.distance, s.drift, s.drift_90, s.still)]
    return f"| {name} | " + " | ".join([*values, f"{s.parts:.3g}", f"{s.seconds:.0f}"]) + " |"


if __name__ == "__main__":
    main()
