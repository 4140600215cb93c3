"""What the options of Consistent4D's authors do: each a `--tune` of the draft preset, on the example clip.

    python benchmarks/consistent4d_options.py runs/demo [--steps 500] [--rows icl texture] [--device cuda]

The run is any of the example clip; its key frames are taken, and its true elevation. Each row trains a DyNeRF
and compares its renders with the known truth: means of all directions but the clip's own (`demo_truth.TURNS`)
at three moments; PSNR over white from the clip's side; and how well views that lie 10 degrees apart predict
the one between them ("around"). Fewer `--steps` than the preset's shorten its schedules, too.
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
from PIL import Image

from vid4d.cameras import Cameras
from vid4d.clip.files import load_frames
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.methods.consistent4d.config import Consistent4DConfig
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import render_views
from vid4d.methods.tuning import tuned
from vid4d.metrics import Sides, temporal_consistency
from vid4d.priors.base import DEFAULT_PRIORS, ScorePrior, load_score_prior
from vid4d.priors.interpolators import as_interpolator, as_midpoint, load_interpolator

SIZE = 96
COLUMNS = {FRAMED: "IoU, framed", "iou": "IoU", "psnr": "PSNR (dB)", "ssim": "SSIM"}


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


def seen(trainer: Consistent4DTrainer, cameras: Cameras, times: torch.Tensor) -> torch.Tensor:
    """What cameras see of the field at times: (v, t, h, w, 4)."""
    views = torch.arange(len(cameras)).repeat_interleave(len(times))
    samples = trainer.config.samples_per_ray
    pictures, _ = render_views(
        trainer.field, trainer.grid, cameras[views], times.repeat(len(cameras)), samples
    )
    return pictures.unflatten(0, (len(cameras), len(times)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder, made of the example clip")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", nargs="+", choices=list(rows(500)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="picture: each row from all directions, the truth last")
    options = parser.parse_args()
    clip = load_frames(options.run / "frames").at_keys()
    times = torch.from_numpy(clip.times).float()
    subject = Subject(torch.from_numpy(clip.frames), times, make_hopper.ELEVATION, clip.seconds, clip.cyclic)
    cameras = Cameras.orbit(TURNS, make_hopper.ELEVATION, size=SIZE)
    circle = Cameras.orbit([360.0 * i / AROUND for i in range(AROUND)], 15.0, size=SIZE)
    moments, truth = torch.tensor(MOMENTS) / make_hopper.FRAMES, make_hopper.truth_of(MOMENTS, cameras)
    assert subject.frames is not None
    prior = load_score_prior(DEFAULT_PRIORS["score"], subject.frames, subject.elevation, options.device)
    base = variants(options.steps)["2 levels, ICL"]
    middle = as_midpoint(load_interpolator())
    names = [*COLUMNS.values(), "PSNR, the clip's side", "around (dB)", "seconds"]
    print(f"| | {' | '.join(names)} | `--tune` |\n{'|---' * (len(names) + 2)}|")
    lines = []
    for name, changes in rows(options.steps).items():
        if options.rows and name not in options.rows:
            continue
        began = time.monotonic()
        trainer = trained(tuned(base, changes), subject, prior, options.seed, options.device)
        seconds = time.monotonic() - began
        found = Sides(cameras, seen(trainer, cameras, moments))
        views = scores(found, truth)
        means = [float(views[k][1:].nanmean()) for k in COLUMNS]
        around = over_white(seen(trainer, circle, moments[:1])[:, 0])
        means += [
            float(views["psnr"][0]),
            float(temporal_consistency(around, middle, cyclic=True).mean()),
        ]
        cells = [f"{v:.{d}f}" for v, d in zip(means, (3, 3, 2, 3, 1, 1), strict=True)]
        told = " ".join(f"`{change}`" for change in changes)
        print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {told} |", flush=True)
        lines.append(found.rgba[:, 0])
    if options.sheet:
        pictures = over_white(torch.cat([*lines, truth.rgba[:, 0]]))
        Image.fromarray(to_uint8(side_by_side(pictures, len(TURNS)))).save(options.sheet)


if __name__ == "__main__":
    main()
