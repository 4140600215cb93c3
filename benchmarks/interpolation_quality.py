"""How well the small interpolator finds the frame between two frames of models it never saw.

    python benchmarks/interpolation_quality.py MODELS

MODELS: a folder of model shards (docs/training.md). Every first motion (16 poses of a loop) is rendered
at 128 px from four views of the ring; each pose is predicted from the poses one and two steps before and
after it. PSNR over white of the prediction, of the mean of the two neighbours, and of the earlier neighbour
alone; averaged over all frames that move (those whose neighbour is not the same picture).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from vid4d.media.images import over_white
from vid4d.metrics import psnr
from vid4d.priors.rife import frame_at
from vid4d.priors.rife_small import load_interpolator
from vid4d.training.evaluate import true_clips
from vid4d.training.meshes import MeshBank, read_folder

VIEWS = [0, 4, 8, 12]
STILL = 50.0
"""PSNR in dB above which two pictures count as the same."""


def white(rgba: Tensor) -> Tensor:
    """(n, 4, h, w) straight alpha -> (n, h, w, 3)."""
    return over_white(rgba.permute(0, 2, 3, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    model = load_interpolator()
    bank = MeshBank(read_folder(options.folder))
    psnrs: dict[int, list[Tensor]] = {1: [], 2: []}
    for clip in true_clips(bank, frames=16):
        pictures = clip.matrix[VIEWS].permute(0, 1, 4, 2, 3)
        for gap, scores in psnrs.items():
            before, after = (pictures.roll(shift, 1).flatten(0, 1) for shift in (gap, -gap))
            truth = white(pictures.flatten(0, 1))
            predicted = white(frame_at(model, before, after))
            mean = (white(before) + white(after)) / 2
            row = [psnr(x, truth) for x in (predicted, mean, white(before))]
            moving = row[2] < STILL
            scores.append(torch.stack(row)[:, moving])
    print(f"{len(bank)} models, {len(VIEWS)} views, 128 px, 16 poses of a loop")
    print("| poses apart | interpolated | mean of neighbours | earlier neighbour | frames |")
    print("|---|---|---|---|---|")
    for gap, scores in psnrs.items():
        joined = torch.cat(scores, 1)
        cells = " | ".join(f"{float(v):.2f} dB" for v in joined.mean(1))
        print(f"| {2 * gap} | {cells} | {joined.shape[1]} |")


if __name__ == "__main__":
    main()
