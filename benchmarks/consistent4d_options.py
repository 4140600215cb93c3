"""What the options of Consistent4D's authors do: each a `--tune` of the draft preset, on one clip.

    python benchmarks/consistent4d_options.py RUN [--steps 500] [--rows icl texture] [--example]

RUN: a run of any clip; its frames and the elevation of its camera are taken. Each row trains a DyNeRF from
the key frames, and looks at it:

- the clip's side, at the frames between key frames, which it has not learnt from: PSNR over white, mask IoU
- around: PSNR between a view and the interpolation of those 10 degrees to its left and right, first moment
- over time: the same of neighbouring key times, mean of `SIDES`, which the clip does not show
- sharpness: mean difference of neighbouring pixels of these sides, over that of the clip's frames; blur
  lowers it, noise raises it

With `--example`, for runs of the example clip, whose other sides are known, also means against them, of all
directions but the clip's own at three moments (`demo_truth.TURNS`), and its true elevation is taken.
Fewer `--steps` than the preset's shorten its schedules, too. Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from consistent4d_ablation import AROUND, variants
from demo_truth import FRAMED, MOMENTS, TURNS, make_hopper, scores
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip
from vid4d.clip.files import load_frames
from vid4d.matrix.io import load_matrix
from vid4d.media.images import over_white, resized, side_by_side, to_uint8
from vid4d.methods.consistent4d.config import Consistent4DConfig
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import render_views
from vid4d.methods.tuning import tuned
from vid4d.metrics import Sides, mask_iou, psnr, sharpness, temporal_consistency
from vid4d.metrics.losses import Middle
from vid4d.priors.base import DEFAULT_PRIORS, ScorePrior, load_score_prior
from vid4d.priors.interpolators import as_interpolator, as_midpoint, load_interpolator

SIZE = 96
SIDES = tuple(45.0 * i for i in range(1, 8))
"""Azimuths that the clip does not show."""
COLUMNS = {
    "PSNR, the clip's side": 2,
    "IoU, there": 3,
    "around (dB)": 1,
    "over time (dB)": 1,
    "sharpness": 3,
}
"""Name -> digits behind the point."""
KNOWN = {FRAMED: ("IoU, framed", 3), "iou": ("IoU", 3), "psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3)}
"""Of `--example`, the same."""


def rows(steps: int) -> dict[str, tuple[str, ...]]:
    """Name -> what `--tune` is given."""
    level = '{{"space": {}, "time": 8, "channels": 16, "width": 32}}'
    levels = ", ".join(level.format(space) for space in (32, 64, 128, 128))
    stages = f'{{"step": 0, "size": 64, "batch": 4}}, {{"step": {steps * 3 // 4}, "size": 128, "batch": 3}}'
    return {
        "draft": (),
        "no icl": ("lambda_icl=0",),
        "icl": ("lambda_icl=10000",),
        "often": ("batch.random=0.25", "batch.spatial=0.25", "batch.temporal=0.25"),
        "wide": ("batch.azimuth_step=[15, 30]", "batch.time_step=0.25"),
        "128 px": (f"milestones=[{stages}]",),
        "texture": (f"texture_steps={steps // 4}",),
        "4 levels": (f"levels.levels=[{levels}]",),
    }


def trained(
    config: Consistent4DConfig, subject: Subject, prior: ScorePrior, seed: int, device: str
) -> Consistent4DTrainer:
    between = as_interpolator(load_interpolator(device=device))
    trainer = Consistent4DTrainer(config, subject, prior, between, seed=seed, device=device)
    while trainer.step < config.steps:
        trainer.advance()
    return trainer


def seen(
    trainer: Consistent4DTrainer, cameras: Cameras, times: Float[Tensor, " t"]
) -> Float[Tensor, "v t h w 4"]:
    """What cameras see of the field at times."""
    views = torch.arange(len(cameras)).repeat_interleave(len(times))
    samples = trainer.config.samples_per_ray
    pictures, _ = render_views(
        trainer.field, trainer.grid, cameras[views], times.repeat(len(cameras)), samples
    )
    return pictures.unflatten(0, (len(cameras), len(times)))


def frames_between(clip: Clip) -> tuple[Float[Tensor, "n h w 4"], Float[Tensor, " n"]]:
    """The frames of a clip that are no key frames, at `SIZE`, and their times."""
    keys = set(clip.at_keys().times.tolist())
    rest = [i for i, t in enumerate(clip.times.tolist()) if t not in keys]
    times = torch.from_numpy(clip.times[rest]).float()
    return resized(torch.from_numpy(clip.frames[rest]), SIZE), times


def measures(
    trainer: Consistent4DTrainer, clip: Clip, sides: Float[Tensor, "v t h w 4"], middle: Middle
) -> list[float]:
    """`COLUMNS`. clip: whole. sides: from `SIDES`, at the key times."""
    subject = trainer.subject
    truth, times = frames_between(clip)
    own = seen(trainer, subject.camera(SIZE), times)[0]
    circle = Cameras.orbit([360.0 * i / AROUND for i in range(AROUND)], 15.0, size=SIZE)
    around = over_white(seen(trainer, circle, subject.times[:1])[:, 0])
    return [
        float(psnr(over_white(own), over_white(truth)).mean()),
        float(mask_iou(own[..., 3], truth[..., 3]).mean()),
        float(temporal_consistency(around, middle, cyclic=True).mean()),
        float(temporal_consistency(over_white(sides), middle, cyclic=subject.cyclic).mean()),
        float(sharpness(over_white(sides)).mean() / sharpness(over_white(truth)).mean()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", nargs="+", choices=list(rows(500)))
    parser.add_argument("--example", action="store_true", help="it is of the example clip: compare sides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="picture: a line a row, the last moment from all sides")
    options = parser.parse_args()
    whole = load_frames(options.run / "frames")
    clip = whole.at_keys()
    elevation = make_hopper.ELEVATION if options.example else load_matrix(options.run / "matrix").elevation
    times = torch.from_numpy(clip.times).float()
    subject = Subject(torch.from_numpy(clip.frames), times, elevation, clip.seconds, clip.cyclic)
    assert subject.frames is not None
    prior = load_score_prior(DEFAULT_PRIORS["score"], subject.frames, elevation, options.device)
    base = variants(options.steps)["2 levels, ICL"]
    middle = as_midpoint(load_interpolator())
    own_side, others = (Cameras.orbit(azimuths, elevation, size=SIZE) for azimuths in ((0.0,), SIDES))
    known = dict(KNOWN.values()) if options.example else {}
    digits = {**known, **COLUMNS}
    print(f"{len(clip)} key frames, elevation {elevation:.0f}, {options.steps} steps, seed {options.seed}")
    print(f"| | {' | '.join(digits)} | seconds | `--tune` |\n{'|---' * (len(digits) + 3)}|")
    lines = []
    for name, changes in rows(options.steps).items():
        if options.rows and name not in options.rows:
            continue
        began = time.process_time()
        trainer = trained(tuned(base, changes), subject, prior, options.seed, options.device)
        seconds = time.process_time() - began
        sides = seen(trainer, others, times)
        values = [
            *(against_truth(trainer) if options.example else []),
            *measures(trainer, whole, sides, middle),
        ]
        cells = [f"{v:.{d}f}" for v, d in zip(values, digits.values(), strict=True)]
        told = " ".join(f"`{change}`" for change in changes)
        print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {told} |", flush=True)
        lines.append(torch.cat([seen(trainer, own_side, times[-1:])[:, 0], sides[:, -1]]))
    if options.sheet:
        pictures = over_white(torch.cat(lines))
        Image.fromarray(to_uint8(side_by_side(pictures, len(lines[0])))).save(options.sheet)


def against_truth(trainer: Consistent4DTrainer) -> list[float]:
    """`KNOWN`, of the example."""
    moments = torch.tensor(MOMENTS) / make_hopper.FRAMES
    cameras = Cameras.orbit(TURNS, make_hopper.ELEVATION, size=SIZE)
    truth = make_hopper.truth_of(MOMENTS, cameras)
    views = scores(Sides(cameras, seen(trainer, cameras, moments)), truth)
    return [float(views[name][1:].nanmean()) for name in KNOWN]


if __name__ == "__main__":
    main()
