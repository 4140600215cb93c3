"""The rows of `asset_quality.py`: ways to an image matrix, what is fitted to it, and how both are looked at.

A row is a function from a clip with known truth to views of the ring at the clip's frames. To judge another
prior, write one and put it into ROWS. Matrices and assets are kept in a folder, so that a run that was
stopped goes on, and another measure costs no other fit.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.model import Gaussians4D, load_asset, save_asset
from vid4d.gaussians.raster import rasterize_4d
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import resized, straight
from vid4d.methods.efficient4d import interpolate_frames, with_confidence
from vid4d.methods.refine import RefineConfig, prior_guide, refine_config
from vid4d.metrics import Sides
from vid4d.priors.base import DEFAULT_PRIORS, DrawRequest
from vid4d.priors.frustum.prior import SHIPPED, FrustumMatrixPrior, load_frustum_volume
from vid4d.priors.interpolators import load_interpolator
from vid4d.training.evaluate import HELD_OUT, TrueClip
from vid4d.training.meshes import TrainingMesh, read_folder, read_models

VIEWS, SIZE, FRAMES = 16, 128, 8
CAMERAS = Cameras.cat([Cameras.ring(VIEWS, size=SIZE), Cameras.ring(VIEWS, elevation=0.0, size=SIZE)])
"""What everything is judged from: the ring, and as many views of the equator."""

DEFAULT_ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"


def models(assets: Path, which: str, limit: int) -> list[TrainingMesh]:
    """The first models of a set: `val` is a folder of its own, `realistic` is held out of training."""
    if which == "realistic":
        return read_models(assets / "train", list(HELD_OUT)[:limit])
    return read_folder(assets / "val", limit=limit)


def copied(clip: TrueClip) -> Float[Tensor, "v t h w 4"]:
    """The input at all azimuths."""
    return clip.frames[None].expand(VIEWS, -1, -1, -1, -1).contiguous()


def true(clip: TrueClip) -> Float[Tensor, "v t h w 4"]:
    """Rendered truth: what the fit makes of it is the ceiling of all rows."""
    return clip.matrix[:VIEWS]


def frustum(clip: TrueClip, weights: Path = SHIPPED) -> Float[Tensor, "v t h w 4"]:
    """What `vid4d generate` draws; the true elevation is told."""
    prior = FrustumMatrixPrior(load_frustum_volume(weights=weights))
    frames = resized(clip.frames, prior.image_size)
    views = prior.draw(frames, clip.elevation, DrawRequest(), cyclic=True)
    return remove_small_components(views.images)


Draw = Callable[[TrueClip], Tensor]
"""From a clip to the ring's views (v, t, h, w, 4)."""

ROWS: dict[str, Draw] = {
    "frustum": frustum,
    "copied": copied,
    "truth": true,
}


class Way(NamedTuple):
    """A row, and the name of what is kept of it."""

    name: str
    draw: Draw


def way_of(row: str, weights: Path | None) -> Way:
    """A row's way to a matrix; `frustum` with given weights, which its name then tells apart."""
    if row != "frustum":
        return Way(row, ROWS[row])
    pieces = sorted((weights or SHIPPED).glob("part_*.safetensors"))
    digest = hashlib.sha256(b"".join(piece.read_bytes() for piece in pieces)).hexdigest()
    return Way(f"frustum-{digest[:8]}", functools.partial(frustum, weights=weights or SHIPPED))


def matrix_of(way: Way, clip: TrueClip, between: int, cache: Path | None) -> ImageMatrix:
    """A way's views as the matrix that is fitted: a loop, with frames between and confidence."""
    folder = cache and cache / f"{clip.name}_{way.name}_{clip.frames.shape[0]}_{between}"
    if folder and folder.is_dir():
        return load_matrix(folder)
    times = torch.arange(len(clip.frames)) / len(clip.frames)
    matrix = ImageMatrix(
        way.draw(clip),
        Cameras.ring(VIEWS, size=SIZE),
        times,
        None,
        clip.frames,
        Cameras.orbit([0.0], clip.elevation, size=SIZE),
        times,
        cyclic=True,
    )
    interpolator = load_interpolator()
    matrix = with_confidence(interpolate_frames(matrix, interpolator, between), interpolator)
    if folder:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_matrix(matrix, folder)
    return matrix


def asset_of(matrix: ImageMatrix, config: FitConfig, kept: Path | None) -> tuple[Gaussians4D, float]:
    """What is fitted to a matrix, and the seconds it took."""
    if kept and kept.is_file():
        gaussians, metadata = load_asset(kept)
        return gaussians, float(metadata["fit_seconds"])
    began = time.monotonic()
    gaussians, _ = fit(matrix, config)
    seconds = time.monotonic() - began
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_asset(kept, gaussians, {"fit_seconds": f"{seconds:.1f}"})
    return gaussians, seconds


def refined_of(
    matrix: ImageMatrix, clip: TrueClip, fitted: Gaussians4D, config: FitConfig, refine: RefineConfig
) -> Gaussians4D:
    """What `vid4d generate --refine` makes of a fitted asset."""
    times = torch.arange(len(clip.frames)) / len(clip.frames)
    guide = prior_guide(clip.frames, times, matrix, refine, prior=DEFAULT_PRIORS["score"])
    return fit(matrix, refine_config(config, refine), start=fitted, guide=guide)[0]


@torch.no_grad()
def sides_of(gaussians: Gaussians4D, times: Float[Tensor, " t"], cameras: Cameras = CAMERAS) -> Sides:
    """What is seen of an asset. Depth is what the rasteriser gives: the mean along a ray."""
    renders = [rasterize_4d(gaussians, t.expand(len(cameras)), cameras, background=0.0) for t in times]
    pictures = [torch.cat([r.color, r.alpha[..., None]], -1) for r in renders]
    return Sides(cameras, straight(torch.stack(pictures, 1)), torch.stack([r.depth for r in renders], 1))
