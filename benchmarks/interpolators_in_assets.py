"""What the interpolator changes in an asset: frames between key frames, and the confidence of pictures.

    python benchmarks/interpolators_in_assets.py runs/demo --rows none fade small rife-4 FILE

The run is one of the example clip. The key times of its matrix stay, the rows fill the time between them and
are fitted by its preset: `none` with nothing, `fade` with a fade of the two, others with the interpolator of
that name or file, which finds the confidence, too. Measures are those of `demo_truth.py` against the known
truth, means of all directions but the clip's own, at times halfway between two key frames (whose own frames
the clip's side shows to the fit, as ever).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from demo_truth import NAMES, scores_of

from vid4d.clip.files import key_times
from vid4d.gaussians.fit import fit
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.io import load_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import premultiplied, straight
from vid4d.methods.efficient4d import PRESETS, interpolate_frames, with_confidence
from vid4d.priors.interpolators import load_interpolator
from vid4d.runs.kept_settings import read_settings

MOMENTS = (2, 10, 19)
"""Frames of the clip that lie between two of 8 key frames (0, 3, 6, ...)."""


def faded(keys: ImageMatrix, count: int) -> ImageMatrix:
    """A loop's matrix with `count` frames more between each two, a fade of them."""
    share = (torch.arange(count + 1) / (count + 1)).view(1, 1, -1, 1, 1, 1)
    own = premultiplied(keys.images)
    images = torch.lerp(own[:, :, None], own.roll(-1, 1)[:, :, None], share).flatten(1, 2)
    times = torch.arange(images.shape[1]) / images.shape[1]
    return replace(keys, images=straight(images), times=times)


def filled(keys: ImageMatrix, row: str, count: int) -> ImageMatrix:
    """The matrix of a row."""
    if row == "none":
        return keys
    if row == "fade":
        return faded(keys, count)
    interpolator = load_interpolator(row)
    return with_confidence(interpolate_frames(keys, interpolator, count), interpolator)


def cells(gaussians: Gaussians4D) -> list[str]:
    """Means of all measures, all directions but the clip's own."""
    views = scores_of(gaussians, MOMENTS)
    return [f"{float(views[n][1:].nanmean()):.{2 if n in ('color', 'psnr') else 3}f}" for n in NAMES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, made of the example clip")
    parser.add_argument("--rows", nargs="+", default=["none", "fade", "small"])
    options = parser.parse_args()
    settings, matrix = read_settings(options.run), load_matrix(options.run / "matrix")
    preset, keys = PRESETS[settings.preset], key_times(options.run / "frames")
    assert keys is not None and matrix.cyclic  # noqa: PT018
    at = [int((matrix.times - time).abs().argmin()) for time in keys]
    sparse = replace(matrix, images=matrix.images[:, at], times=matrix.times[at], confidence=None)
    print(f"| | {' | '.join(NAMES.values())} | seconds |\n{'|---' * (len(NAMES) + 2)}|")
    for row in options.rows:
        began = time.monotonic()
        gaussians, _ = fit(filled(sparse, row, preset.n_interpolated), preset.fit, seed=settings.seed)
        seconds = time.monotonic() - began
        print(f"| {Path(row).stem} | {' | '.join(cells(gaussians))} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
