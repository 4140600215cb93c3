"""What the interpolation-driven consistency loss and the cascade bring, with the prior that ships.

    python benchmarks/consistent4d_ablation.py MODELS [--models 2] [--steps 300] [--workers 1] [--device cuda]

MODELS: a folder of model shards (docs/training.md). Every model's first motion is rendered as a clip from the
azimuth and elevation that `vid4d.training.evaluate` fixes in advance. The draft preset is trained on it with
and without the loss, with one level and with two; then the DyNeRF is rendered and compared:

- novel views: the ring's 16 views at elevation 30, at all times: PSNR and SSIM over white, IoU of the masks
- over time: PSNR between a picture and the interpolation of the two before and after it, mean of the views
- around: the same between views that lie 10 degrees apart, on the circle at elevation 15, at the first time

The true pictures' own consistency stands in the last row: fast motion and detail lower it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.dynerf import FieldConfig
from vid4d.media.images import over_white, side_by_side, to_uint8
from vid4d.methods.consistent4d.batches import LinearSchedule, TimestepRange
from vid4d.methods.consistent4d.config import PRESETS, Consistent4DConfig
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import render_views
from vid4d.metrics import mask_iou, psnr, ssim, temporal_consistency
from vid4d.metrics.losses import Middle
from vid4d.priors.base import DEFAULT_PRIORS, load_score_prior
from vid4d.priors.interpolators import as_interpolator, as_midpoint, load_interpolator
from vid4d.training.evaluate import true_clips
from vid4d.training.meshes import MeshBank, read_folder

VIEWS = 16
AROUND = 36
COLUMNS = ("PSNR (dB)", "SSIM", "IoU", "over time (dB)", "around (dB)", "seconds")


def variants(steps: int) -> dict[str, Consistent4DConfig]:
    """The draft preset, its schedules over so many steps: two levels and one, with and without the loss."""
    base = PRESETS["draft"]
    share = steps / base.steps

    def scaled(line: LinearSchedule) -> LinearSchedule:
        return replace(line, steps=round(line.steps * share))

    base = replace(
        base,
        steps=steps,
        t_range=TimestepRange(scaled(base.t_range.low), scaled(base.t_range.high)),
        lambda_orient=scaled(base.lambda_orient),
    )
    one = replace(base, levels=FieldConfig(base.levels.levels[-1:]))
    return {
        "2 levels, ICL": base,
        "2 levels, no ICL": replace(base, lambda_icl=0.0),
        "1 level, ICL": one,
        "1 level, no ICL": replace(one, lambda_icl=0.0),
    }


def measures(
    matrix: Float[Tensor, "v t h w 4"],
    truth: Float[Tensor, "v t h w 4"],
    circle: Float[Tensor, "a h w 4"],
    middle: Middle,
) -> list[float]:
    """The first five columns. circle: views of the first time around the object."""
    a, b = over_white(matrix), over_white(truth)
    scores = [psnr(a, b), ssim(a, b), mask_iou(matrix[..., 3], truth[..., 3])]
    scores.append(temporal_consistency(a, middle, cyclic=True))
    scores.append(temporal_consistency(over_white(circle), middle, cyclic=True))
    return [float(x.mean()) for x in scores]


def row(name: str, values: list[float]) -> str:
    cells = [f"{v:.{d}f}" for v, d in zip(values, (2, 3, 3, 1, 1, 0), strict=False)]
    return f"| {name} | " + " | ".join(cells + [""] * (len(COLUMNS) - len(cells))) + " |"


def compare(options: argparse.Namespace, index: int) -> tuple[str, dict[str, list[float]]]:
    """All variants on one model: its name, and the measures of each."""
    torch.set_num_threads(options.threads)
    device = options.device
    interpolator = load_interpolator(device=device)
    bank = MeshBank(read_folder(options.folder, limit=index + 1))
    ring = Cameras.ring(VIEWS, size=options.size)
    circle = Cameras.orbit([360.0 * i / AROUND for i in range(AROUND)], 15.0, size=options.size)
    clips = true_clips(bank, frames=options.frames, size=options.size, extra=circle, only=index)
    (clip,) = clips
    count = len(clip.frames)
    subject = Subject(clip.frames, torch.arange(count) / count, clip.elevation, cyclic=True)
    middle, truth = as_midpoint(interpolator), clip.matrix[:VIEWS]
    results, rows = {}, []
    for name, config in variants(options.steps).items():
        began = time.monotonic()
        score_prior = load_score_prior(DEFAULT_PRIORS["score"], clip.frames, subject.elevation, device)
        between = as_interpolator(interpolator)
        trainer = Consistent4DTrainer(config, subject, score_prior, between, seed=options.seed, device=device)
        while trainer.step < config.steps:
            trainer.advance()
        seconds = time.monotonic() - began
        matrix, around = pictures(trainer, subject, ring, circle)
        results[name] = [*measures(matrix, truth, around, middle), seconds]
        rows.append(matrix)
        print(f"{clip.name}: {row(name, results[name])}", flush=True)
    results["true pictures"] = measures(truth, truth, clip.matrix[VIEWS:, 0], middle)
    if options.sheets:
        save_sheet(options.sheets / f"{clip.name}.png", [*rows, truth])
    return clip.name, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=96, help="pixels of the compared pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
    parser.add_argument("--workers", type=int, default=1, help="models at a time")
    parser.add_argument("--device", default="cpu", help="where the DyNeRF is trained")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheets", type=Path, help="a folder for pictures: each variant, and the truth")
    options = parser.parse_args()
    models = len(read_folder(options.folder, limit=options.models))
    if options.workers == 1:
        comparisons = [compare(options, i) for i in range(models)]
    else:
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            comparisons = list(pool.map(partial(compare, options), range(models)))
    results = {name: [each[name] for _, each in comparisons] for name in comparisons[0][1]}
    print(f"\n{models} models, {options.frames} frames, {options.steps} steps of the draft preset")
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, every in results.items():
        print(row(name, torch.tensor(every, dtype=torch.float64).mean(0).tolist()))
    if options.out:
        report = {"columns": COLUMNS, "models": [name for name, _ in comparisons], "values": results}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report))


def pictures(
    trainer: Consistent4DTrainer, subject: Subject, ring: Cameras, circle: Cameras
) -> tuple[Tensor, Tensor]:
    """The ring's views at all times, and the circle at the first."""
    count, samples = len(subject.times), trainer.config.samples_per_ray
    views = torch.arange(len(ring)).repeat_interleave(count)
    matrix, _ = render_views(
        trainer.field, trainer.grid, ring[views], subject.times.repeat(len(ring)), samples
    )
    around, _ = render_views(
        trainer.field, trainer.grid, circle, subject.times[:1].expand(len(circle)), samples
    )
    return matrix.unflatten(0, (len(ring), count)), around


def save_sheet(path: Path, matrices: list[Tensor]) -> None:
    """Every second view of the first time, one matrix below the other, the truth last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [over_white(m[::2, 0]) for m in matrices]
    Image.fromarray(to_uint8(side_by_side(torch.cat(lines), len(lines[0])))).save(path)


if __name__ == "__main__":
    main()
