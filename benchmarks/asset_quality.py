"""How good the assets are that `vid4d generate` makes, on models that the small prior never saw.

    python benchmarks/asset_quality.py MODELS [--models 13] [--preset standard] [--cache DIR] [--sheets DIR]

MODELS: a folder of model shards (docs/training.md). Every model's first motion is rendered as a clip from the
azimuth and elevation that `vid4d.training.evaluate` fixes in advance; the small prior draws the image matrix
(the true elevation is told), Gaussians are fitted to it and to the clip, and what they show is compared with
rendered truth at the key times: 16 views at elevation 30 and 16 at elevation 0, by azimuth distance from the
input view. PSNR and SSIM over white, IoU of the masks. Beside it: the matrix itself (elevation 30 only).
`--cache` keeps the matrices, so that only the fit is done again. `--outline 0 --seen-weight 1` is the paper's
way, without what we do beyond it (docs/methods.md).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from fit_quality import renders
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.fit import fit
from vid4d.images import over_white
from vid4d.matrix.cleanup import remove_small_components, smooth_alpha
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods.efficient4d import PRESETS, Efficient4DConfig, interpolate_frames, with_confidence
from vid4d.metrics import mask_iou, psnr, ssim
from vid4d.priors.rife_small import load_interpolator
from vid4d.priors.small.prior import OUTLINE_WIDTH
from vid4d.priors.small.prior import PRESETS as SAMPLING
from vid4d.priors.small.sampling import load_small_prior, sample
from vid4d.training.evaluate import TrueClip, true_clips
from vid4d.training.meshes import MeshBank, read_folder

VIEWS, SIZE, FRAMES = 16, 128, 8
BANDS = {"0-22": (0, 30), "45-68": (30, 75), "90-135": (75, 140), "158-180": (140, 181)}
"""Azimuth distances (degrees) that are averaged."""


def matrix_of(
    clip: TrueClip, config: Efficient4DConfig, preset: str, outline: float, folder: Path | None
) -> ImageMatrix:
    """What `generate` would draw for the clip, as a loop; kept in the folder."""
    if folder is not None and folder.is_dir():
        return load_matrix(folder)
    prior, interpolator = load_small_prior(), load_interpolator()
    generator = torch.Generator().manual_seed(0)
    views = sample(prior, clip.frames, clip.elevation, SAMPLING[preset], cyclic=True, generator=generator)
    times = torch.arange(len(clip.frames)) / len(clip.frames)
    camera = Cameras.orbit([0.0], clip.elevation, size=SIZE)
    matrix = ImageMatrix(
        remove_small_components(smooth_alpha(views, outline)),
        prior.ring("cpu"),
        times,
        None,
        clip.frames,
        camera,
        times,
        cyclic=True,
    )
    matrix = with_confidence(interpolate_frames(matrix, interpolator, config.n_interpolated), interpolator)
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_matrix(matrix, folder)
    return matrix


def scores(
    color: Float[Tensor, "v t h w 3"], alpha: Float[Tensor, "v t h w"], truth: Float[Tensor, "v t h w 4"]
) -> list[list[float]]:
    """PSNR, SSIM and IoU of each view, means over the times; views of one ring after the other."""
    target = over_white(truth)
    found = psnr(color, target), ssim(color, target), mask_iou(alpha, truth[..., 3])
    return [x.mean(1).tolist() for x in found]


def table(results: dict[str, list[list[list[float]]]]) -> str:
    lines = ["| | measure | " + " | ".join(f"{band}°" for band in BANDS) + " | all |"]
    lines.append("|---" * (len(BANDS) + 3) + "|")
    for name, every in results.items():
        mean = torch.tensor(every, dtype=torch.float64).mean(0)
        distance = torch.tensor(
            [min(i % VIEWS, VIEWS - i % VIEWS) * 360 / VIEWS for i in range(mean.shape[1])]
        )
        for measure, values, digits in zip(("PSNR", "SSIM", "IoU"), mean, (2, 3, 3), strict=True):
            cells = [values[(distance >= low) & (distance < high)].mean() for low, high in BANDS.values()]
            row = " | ".join(f"{float(c):.{digits}f}" for c in [*cells, values.mean()])
            lines.append(f"| {name} | {measure} | {row} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--preset", choices=list(PRESETS), default="standard")
    parser.add_argument("--outline", type=float, default=OUTLINE_WIDTH, help="pixels")
    parser.add_argument("--seen-weight", type=float, help="of the fit, instead of the preset's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="a folder where the matrices stay")
    parser.add_argument("--sheets", type=Path, help="a folder for pictures: matrix, asset, truth")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = PRESETS[options.preset]
    if options.seen_weight is not None:
        config = replace(config, fit=replace(config.fit, observed_color_weight=options.seen_weight))
    bank = MeshBank(read_folder(options.folder, limit=options.models))
    low = Cameras.ring(VIEWS, elevation=0.0, size=SIZE)
    results: dict[str, list[list[list[float]]]] = {"matrix": [], "asset": []}
    seconds = []
    for clip in true_clips(bank, frames=FRAMES, size=SIZE, extra=low):
        kept = options.cache and options.cache / f"{clip.name}_{options.preset}_{options.outline:g}"
        matrix = matrix_of(clip, config, options.preset, options.outline, kept)
        began = time.monotonic()
        gaussians, report = fit(matrix, config.fit)
        seconds.append(time.monotonic() - began)
        assert matrix.input_times is not None
        step = matrix.frames // len(matrix.input_times)
        keys = matrix.images[:, ::step]
        cameras = Cameras.cat([Cameras.ring(VIEWS, size=SIZE), low])
        color, alpha = renders(gaussians, matrix.input_times, cameras)
        results["matrix"].append(scores(over_white(keys), keys[..., 3], clip.matrix[:VIEWS]))
        results["asset"].append(scores(color, alpha, clip.matrix))
        mean = float(torch.tensor(results["asset"][-1][0]).mean())
        told = f"{clip.name}: {mean:.2f} dB, input view {report.input_psnr:.2f} dB, {seconds[-1]:.0f} s"
        print(told, flush=True)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            rows = [over_white(keys)[::2, 0], color[:VIEWS:2, 0], over_white(clip.matrix)[:VIEWS:2, 0]]
            first = over_white(clip.frames[:1])
            lines = [torch.cat([*first, *row], 1) for row in rows]
            picture = (torch.cat(lines) * 255).round().byte().numpy()
            Image.fromarray(picture).save(options.sheets / f"{clip.name}.png")
    print(f"\n{len(bank)} models, preset {options.preset}, outline {options.outline:g}, ", end="")
    print(f"seen weight {config.fit.seen_weight:g}, fit {sum(seconds) / len(seconds):.1f} s (mean)")
    print(table(results))


if __name__ == "__main__":
    main()
