"""How good the small prior's image matrix is on models it never saw.

    python benchmarks/prior_quality.py [--set val] [--frames 4] [--models 13] [--out FILE.json]
        [--sheets FOLDER]

Every model's first motion is rendered as a clip from the azimuth and elevation that
`vid4d.training.evaluate` fixes in advance; the prior gets the frames and the true elevation, and its 16 views
are compared with rendered ones, by azimuth distance from the input view, with the measures of vid4d.metrics
that need no depth. They are pictures: what people get is judged by asset_quality.py. Beside it: what its
lifted volume alone renders, and two baselines (the input view copied to all azimuths; the same, mirrored
behind). Temporal consistency: PSNR between a frame and the interpolation of its two neighbours, per view, of
the generated matrix and of the true one. The error of the elevation is that of a run's guess, which
is the frustum prior's.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from asset_rows import DEFAULT_ASSETS, models
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.metrics import Sides, compare, temporal_consistency
from vid4d.priors.frustum.elevation import guess_elevation
from vid4d.priors.frustum.prior import load_frustum_volume
from vid4d.priors.interpolators import as_midpoint, load_interpolator
from vid4d.priors.small.sampling import (
    SampleConfig,
    lifted_views,
    load_small_prior,
    sample_small_prior,
)
from vid4d.training.evaluate import TrueClip, true_clips
from vid4d.training.meshes import MeshBank

VIEWS = 16


def scores(matrix: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """Per view, the mean over the frames of each measure that pictures without depth have."""
    ring = Cameras.ring(VIEWS, size=matrix.shape[2])
    measures = compare(Sides(ring, matrix.float()), Sides(ring, truth))
    return {name: values.nanmean(1).tolist() for name, values in measures.items()}


def baselines(clip: TrueClip) -> dict[str, Tensor]:
    """The input view at all azimuths, and the same mirrored for the views from behind."""
    copied = clip.frames[None].expand(VIEWS, -1, -1, -1, -1)
    mirrored = copied.clone()
    mirrored[5:12] = copied[5:12].flip(3)
    return {"copied": copied, "mirrored": mirrored}


def consistency(matrix: Tensor) -> float:
    """PSNR between frames and the interpolation of their neighbours; the motion is a loop. NaN for stills."""
    if matrix.shape[1] < 3:
        return float("nan")
    middle = as_midpoint(load_interpolator())
    return float(temporal_consistency(over_white(matrix), middle, cyclic=True).mean())


def row_of(clip: TrueClip, matrix: Tensor) -> Tensor:
    """A row of the sheet: the input, then every second view of the first frame."""
    return over_white(torch.cat([clip.frames[:1], matrix[::2, 0]]))


def table(results: dict[str, dict[str, list[list[float]]]]) -> str:
    """Means over the models: by azimuth distance and over the ring."""
    distance = [min(i, VIEWS - i) * 360 / VIEWS for i in range(VIEWS)]
    steps = sorted(set(distance))
    lines = ["| matrix | measure | " + " | ".join(f"{d:g}°" for d in steps) + " | ring |"]
    lines.append("|---" * (len(steps) + 3) + "|")
    for name, measures in results.items():
        for measure, values in measures.items():
            mean = np.nanmean(values, 0)
            cells = [np.nanmean([m for m, d in zip(mean, distance, strict=True) if d == s]) for s in steps]
            digits = 1 if measure in ("psnr", "color", "pieces") else 2
            row = " | ".join(f"{c:.{digits}f}" for c in cells)
            lines.append(f"| {name} | {measure} | {row} | **{np.nanmean(mean):.{digits + 1}f}** |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=DEFAULT_ASSETS, help="folder of val and train")
    parser.add_argument("--set", choices=["val", "realistic"], default="val")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=SampleConfig.steps)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheets", type=Path)
    options = parser.parse_args()
    prior, frustum = load_small_prior(), load_frustum_volume()
    bank = MeshBank(models(options.assets, options.set, options.models))
    results: dict[str, dict[str, list[list[float]]]] = {}
    steady: dict[str, list[float]] = {"generated": [], "true": []}
    guesses, rows, began = [], [], time.monotonic()
    for clip in true_clips(bank, frames=options.frames):
        generator = torch.Generator().manual_seed(0)
        config = SampleConfig(steps=options.steps)
        generated = sample_small_prior(
            prior, clip.frames, clip.elevation, config, cyclic=True, generator=generator
        )
        lifted = lifted_views(prior, clip.frames, clip.elevation, prior.ring("cpu"))
        matrices = {"generated": generated, "lifted alone": lifted, **baselines(clip)}
        for name, matrix in matrices.items():
            for measure, values in scores(matrix, clip.matrix).items():
                results.setdefault(name, {}).setdefault(measure, []).append(values)
        steady["generated"].append(consistency(generated))
        steady["true"].append(consistency(clip.matrix))
        guesses.append(guess_elevation(frustum, clip.frames).degrees - clip.elevation)
        rows += [row_of(clip, generated), row_of(clip, clip.matrix)]
        ring = {name: np.mean(results[name]["psnr"][-1]) for name in matrices}
        overlap = np.mean(results["generated"]["iou"][-1])
        summary = "  ".join(f"{name} {value:.2f} dB" for name, value in ring.items())
        print(f"{clip.name}: {summary}, IoU {overlap:.3f} ({time.monotonic() - began:.0f} s)", flush=True)
    dtype = next(prior.parameters()).dtype
    print(f"\n{len(bank)} models, {options.frames} frames, {options.steps} steps, {dtype}")
    print(table(results))
    means = {name: float(np.nanmean(values)) for name, values in steady.items()}
    print(f"temporal consistency: generated {means['generated']:.2f} dB, true {means['true']:.2f} dB")
    print(f"elevation guess (frustum prior): mean error {np.abs(guesses).mean():.1f} degrees")
    if options.out:
        kept = {"scores": results, "consistency": steady, "elevation_error": guesses, "models": bank.names}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"frames": options.frames, "steps": options.steps, **kept}))
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        page = to_uint8(side_by_side(torch.cat(rows), len(rows[0])))
        Image.fromarray(page).save(options.sheets / "prior_quality.jpg", quality=88)


if __name__ == "__main__":
    main()
