"""What `vid4d enhance` does to the renders of assets whose truth is known: sharper, truer, as steady?

    python benchmarks/enhancement.py MODELS/val --models 3 --cache DIR --sheet sheet.png

MODELS/val: a folder of model shards (docs/training.md). Of each model's first motion (16 poses of a loop) a
clip of 256 px is rendered, and an asset is made of it as `vid4d generate --prior frustum --preset draft`
makes it, the true elevation given. An enhancer is trained for it, which gets every second of the clip's
frames. It is judged at the clip's camera at the moments between these, and at elevation 30 at azimuths near
and far from it, against renders of the model at 256 px, cut to the object.

Rows: the renders; what the small sharpener makes of them; what the enhancer makes. PSNR and SSIM; gradient
error: mean absolute difference of horizontal and vertical differences from the truth's, over the truth's
mean; sharpness: mean of these differences over the truth's; motion error and motion: the same of differences
between neighbouring frames. `--cache` keeps the assets.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import RING_ELEVATION, Cameras
from vid4d.compute.threads import fixed_threads
from vid4d.enhance.apply import Enhancer
from vid4d.enhance.config import PRESETS
from vid4d.enhance.footage import Footage, own_footage, rendered, side_renders, window
from vid4d.enhance.sharpener import load_sharpener, sharpened
from vid4d.enhance.trainer import Trainer
from vid4d.gaussians.fit import fit
from vid4d.gaussians.model import Gaussians4D, load_asset, save_asset
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, resized
from vid4d.methods import efficient4d
from vid4d.methods.efficient4d import interpolate_frames, with_confidence
from vid4d.metrics import motion, psnr, sharpness, ssim
from vid4d.priors.base import DrawRequest, load_matrix_prior
from vid4d.priors.interpolators import load_interpolator
from vid4d.report.contact import draw_sheet
from vid4d.training.evaluate import posed
from vid4d.training.mesh_render import render_meshes
from vid4d.training.meshes import MeshBank, read_folder

POSES, KEYS, SIZE = 16, 8, 256
BANDS: dict[str, tuple[float, ...]] = {"near": (22.5,), "far": (112.5, 225.0)}
"""Azimuths at elevation 30."""
OWN = "clip's camera"


class Model(NamedTuple):
    """A model with its clip: frames RGBA, truth over white by band, cameras flat."""

    name: str
    elevation: float
    frames: Float[Tensor, "t h w 4"]
    truth: dict[str, Float[Tensor, "v t 3 h w"]]

    @property
    def times(self) -> Float[Tensor, " t"]:
        return torch.arange(len(self.frames)) / len(self.frames)

    @property
    def camera(self) -> Cameras:
        return Cameras.orbit([0.0], self.elevation, size=SIZE)


def models(bank: MeshBank) -> Iterator[Model]:
    for index, name in enumerate(bank.names):
        batch, camera, elevation = posed(bank, index, frames=POSES, size=SIZE)
        owner = torch.arange(batch.objects)

        def seen(cameras: Cameras, batch: object = batch, owner: Tensor = owner) -> Tensor:
            every = cameras[torch.zeros(len(owner), dtype=torch.long)]
            return render_meshes(batch, every, owner)  # type: ignore[arg-type]

        truth = {
            band: torch.stack(
                [over_white(seen(Cameras.orbit([a], RING_ELEVATION, size=SIZE))) for a in azimuths]
            ).movedim(-1, 2)
            for band, azimuths in BANDS.items()
        }
        yield Model(name, elevation, seen(camera), truth)


def matrix_of(model: Model) -> ImageMatrix:
    """As `efficient4d.draw_matrix`, of the model's clip."""
    prior, step = load_matrix_prior("frustum", "cpu"), max(1, len(model.frames) // KEYS)
    keys = resized(model.frames[::step], prior.image_size)
    views = prior.draw(keys, model.elevation, DrawRequest("draft"), cyclic=True)
    matrix = ImageMatrix(
        remove_small_components(views.images),
        views.cameras,
        model.times[::step],
        None,
        model.frames,
        model.camera,
        model.times,
        cyclic=True,
    )
    interpolator = load_interpolator()
    between = efficient4d.PRESETS["draft"].n_interpolated
    return with_confidence(interpolate_frames(matrix, interpolator, between), interpolator)


def asset_of(model: Model, cache: Path | None) -> Gaussians4D:
    kept = cache and cache / f"{model.name}.safetensors"
    if kept and kept.is_file():
        return load_asset(kept)[0]
    gaussians, _ = fit(matrix_of(model), efficient4d.PRESETS["draft"].fit)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_asset(kept, gaussians, {})
    return gaussians


def enhancer_of(model: Model, gaussians: Gaussians4D, preset: str, *, clip: bool, sides: bool) -> Enhancer:
    """An enhancer that learns from every second frame of the clip, from other sides, or from both."""
    config = PRESETS[preset]
    step = 2**config.generator.halvings
    nothing = torch.zeros(1, 1, 8, 8, 4)
    half = ImageMatrix(
        nothing,
        Cameras.orbit([0.0], 0.0, size=8),
        torch.zeros(1),
        None,
        model.frames[::2],
        model.camera,
        model.times[::2],
        cyclic=True,
    )
    own = own_footage(gaussians, half, config.size)
    assert own is not None
    sharpener = load_sharpener()
    renders = side_renders(
        gaussians, model.elevation, views=config.views, frames=config.frames, size=config.size, own=True
    )
    small = [sharpened(sharpener, r) for r in renders] if sides else []
    others = [Footage(r, r, True).cut(step) for r in small]
    known = replace(own, renders=sharpened(sharpener, own.renders)).cut(step)
    return Enhancer(sharpener, Trainer([known] if clip else [], others, config).run())


def scores(shown: Float[Tensor, "v t 3 h w"], truth: Float[Tensor, "v t 3 h w"], gap: int) -> list[float]:
    """The columns. gap: every so many frames are there to be judged, of a loop: their motion is not."""
    a, b = shown.movedim(2, -1), truth.movedim(2, -1)
    edges = float(sharpness(b).mean())
    slopes = sum(float((a.diff(dim=d) - b.diff(dim=d)).abs().mean()) for d in (-2, -3))
    row = [
        float(psnr(a, b).mean()),
        float(ssim(a, b).mean()),
        slopes / edges,
        float(sharpness(a).mean()) / edges,
    ]
    if gap > 1:
        return [*row, float("nan"), float("nan")]
    moved = max(float(motion(b).mean()), 1e-9)
    error = float((a.diff(dim=1) - b.diff(dim=1)).abs().mean()) / moved
    return [*row, error, float(motion(a).mean()) / moved]


COLUMNS = ("PSNR (dB)", "SSIM", "gradient error", "sharpness", "motion error", "motion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=3, help="only the first so many")
    parser.add_argument("--preset", choices=list(PRESETS), default="draft")
    parser.add_argument("--steps", type=int, help="of the training, instead of the preset's")
    parser.add_argument("--alone", action="store_true", help="a row of an enhancer of the clip's side alone")
    parser.add_argument("--cache", type=Path, help="folder where assets stay")
    parser.add_argument("--sheet", type=Path, help="picture: rows and truth of every model")
    options = parser.parse_args()
    if options.steps:
        PRESETS[options.preset] = replace(PRESETS[options.preset], steps=options.steps)
    table: dict[tuple[str, str], list[list[float]]] = {}
    sheet: list[tuple] = []
    with fixed_threads():
        for model in models(MeshBank(read_folder(options.folder, limit=options.models))):
            judge(model, options, table, sheet)
    print(f"\n{options.models} models, preset {options.preset}, {PRESETS[options.preset].steps} steps")
    print("| | | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    for (band, row), every in table.items():
        mean = torch.tensor(every, dtype=torch.float64).mean(0).tolist()
        cells = ["" if v != v else f"{v:.{2 if i == 0 else 3}f}" for i, v in enumerate(mean)]
        print(f"| {band} | {row} | " + " | ".join(cells) + " |")
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(sheet, [f"{a:g}°" for a in (0.0, *BANDS["near"], *BANDS["far"])], 224).save(options.sheet)


def judge(model: Model, options: argparse.Namespace, table: dict, sheet: list[tuple]) -> None:
    """Adds a model's rows to the table and to the sheet."""
    gaussians = asset_of(model, options.cache)
    began = time.monotonic()
    makers = {"enhanced": enhancer_of(model, gaussians, options.preset, clip=True, sides=True)}
    seconds = time.monotonic() - began
    if options.alone:
        makers["of the clip alone"] = enhancer_of(model, gaussians, options.preset, clip=True, sides=False)
    lines: dict[str, list] = {}
    own = over_white(model.frames).movedim(-1, 1)[None]
    for band, truth in ((OWN, own), *model.truth.items()):
        cameras = [Cameras.orbit([a], RING_ELEVATION, size=SIZE) for a in BANDS.get(band, ())]
        renders = torch.stack([rendered(gaussians, c, model.times) for c in cameras or [model.camera]])
        shown = {
            "renders": renders,
            "sharpened": torch.stack([sharpened(load_sharpener(), r) for r in renders]),
        }
        for row, enhancer in makers.items():
            shown[row] = torch.stack([enhancer(r, cyclic=True) for r in renders])
        rows, columns = window(torch.cat([truth, renders]).flatten(0, 1), 16)
        moments, gap = (slice(1, None, 2), 2) if band == OWN else (slice(None), 1)
        for row, pictures in shown.items():
            ours, true = (x[:, moments, :, rows, columns] for x in (pictures, truth))
            table.setdefault((band, row), []).append(scores(ours, true, gap))
            told = "  ".join(f"{v:.3f}" for v in table[band, row][-1])
            print(f"{model.name}, {band}, {row}: {told}", flush=True)
        for row, pictures in (*shown.items(), ("truth", truth)):
            lines.setdefault(row, []).extend(p[3].movedim(0, -1).numpy() for p in pictures)
    sheet += [(row, model.name if row == "renders" else "", pictures) for row, pictures in lines.items()]
    print(f"{model.name}, elevation {model.elevation:g}: trained in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
