"""How well interpolators find the frame between two frames of models they never saw.

    python benchmarks/interpolation_quality.py MODELS --interpolators small rife-4 FILE

MODELS: a folder of model shards (docs/training.md). Every first motion (16 poses of a loop) is rendered
from four views of the ring; each pose is predicted from the poses one and two steps before and after it. In
space, every fourth pose is predicted from 10 degrees to its left and right. PSNR over white of the
prediction, of the mean of the two neighbours, and of the earlier neighbour alone; averaged over all pictures
that move (those whose neighbour is another picture). An interpolator that sees RGBA gets premultiplied RGBA,
and for comparison the colors over white.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from vid4d.cameras import RING_ELEVATION, Cameras
from vid4d.media.images import over_white, premultiplied
from vid4d.metrics import psnr
from vid4d.metrics.losses import Middle
from vid4d.priors.interpolators import as_midpoint, load_interpolator
from vid4d.training.evaluate import true_clips
from vid4d.training.meshes import MeshBank, read_folder

VIEWS = [0, 4, 8, 12]
STEP = 10.0
"""Degrees between a view and what it is predicted from."""
STILL = 50.0
"""PSNR in dB above which two pictures count as the same."""
ROWS = ("2 poses apart", "4 poses apart", f"{2 * STEP:g} degrees apart")


def triples(bank: MeshBank, size: int) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Row of the table, pictures before, after, and between them: (n, h, w, 4), straight alpha."""
    around = [22.5 * view + step for view in VIEWS for step in (-STEP, STEP)]
    extra = Cameras.orbit(around, RING_ELEVATION, size=size)
    for clip in true_clips(bank, frames=16, size=size, extra=extra):
        pictures = clip.matrix[VIEWS]
        for gap, row in zip((1, 2), ROWS, strict=False):
            before, after = (pictures.roll(shift, 1).flatten(0, 1) for shift in (gap, -gap))
            yield row, before, after, pictures.flatten(0, 1)
        sides = clip.matrix[-len(around) :, ::4].unflatten(0, (len(VIEWS), 2))
        yield ROWS[2], sides[:, 0].flatten(0, 1), sides[:, 1].flatten(0, 1), pictures[:, ::4].flatten(0, 1)


def predictors(names: list[str]) -> dict[str, tuple[Middle, bool]]:
    """Name of a column -> the middle, and whether of premultiplied RGBA or of colors over white."""
    found: dict[str, tuple[Middle, bool]] = {}
    for name in names:
        model = load_interpolator(name)
        middle, label = as_midpoint(model), Path(name).parent.name if os.sep in name else name
        if getattr(model.config, "image_channels", 3) == 4:
            found |= {f"{label}, colors over white": (middle, False), f"{label}, RGBA": (middle, True)}
        else:
            found[label] = (middle, True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--interpolators", nargs="+", default=["small"])
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    models = predictors(options.interpolators)
    bank = MeshBank(read_folder(options.folder))
    scores: dict[str, list[Tensor]] = {row: [] for row in ROWS}
    for row, before, after, between in triples(bank, options.size):
        truth = over_white(between)
        columns = [psnr(over_white(before), truth), psnr((over_white(before) + over_white(after)) / 2, truth)]
        for middle, rgba in models.values():
            a, b = (premultiplied(x) if rgba else over_white(x) for x in (before, after))
            found = torch.cat([middle(x, y) for x, y in zip(a.split(16), b.split(16), strict=True)])
            if rgba:
                found = found[..., :3] + 1 - found[..., 3:]
            columns.append(psnr(found, truth))
        scores[row].append(torch.stack(columns)[:, columns[0] < STILL])
        print(".", end="", flush=True, file=sys.stderr)
    print(f"\n{len(bank)} models, {len(VIEWS)} views, {options.size} px: PSNR of the picture between, in dB")
    names = ["earlier neighbour", "mean of neighbours", *models]
    print("| | " + " | ".join(f"{row} ({torch.cat(v, 1).shape[1]})" for row, v in scores.items()) + " |")
    print("|---" * (len(scores) + 1) + "|")
    for i, name in enumerate(names):
        cells = (f"{float(torch.cat(v, 1)[i].mean()):.2f}" for v in scores.values())
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
