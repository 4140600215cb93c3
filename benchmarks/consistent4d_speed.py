"""Seconds per step of Consistent4D with a full-size Zero123, and peak memory.

    python benchmarks/consistent4d_speed.py                on CUDA, random weights at the authors' size
    python benchmarks/consistent4d_speed.py --tiny         on the CPU, tiny networks: does it run at all?
    python benchmarks/consistent4d_speed.py --devices 2    renders of a prior step shared among cards

Reference step: the input camera, with its losses, gradients and the optimizer's step. Prior step: a batch of
random cameras at one time (the most frequent kind), scored with guidance at all levels, with the gradient
through the autoencoder; `with ICL` is the same for views in a row. 64 px with a batch of 4, 256 px with a
batch of 1, as the paper's two stages have them. The field is the one that training starts from, whose
occupied share is printed; every step's time is the wall clock's, the device waited for, and the median of
several is told. Reference steps are CUDA graphs; they are compared with steps that are not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.methods.consistent4d.batches import BatchConfig, Milestone
from vid4d.methods.consistent4d.config import PRESETS, Consistent4DConfig
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.priors.base import ScorePrior
from vid4d.priors.interpolators import as_interpolator, load_interpolator
from vid4d.priors.multiview_sampling import more_devices, prepare_for_inference
from vid4d.priors.zero123 import CONFIGS, Zero123
from vid4d.priors.zero123_score import GUIDANCE, Zero123ScorePrior

AUTHORS = {(64, "reference"): 71, (64, "prior"): 276, (256, "reference"): 619, (256, "prior"): 640}
"""Milliseconds of the authors' code on one NVIDIA H200."""

SAME = 30
"""Steps after which recorded ones are compared with others."""

KINDS = {"prior": BatchConfig(1.0, 0.0, 0.0, 0.0), "with ICL": BatchConfig(0.0, 1.0, 0.0, 0.0)}


def random_zero123(name: str, device: str, dtype: torch.dtype) -> Zero123:
    with torch.device(device):
        prior = Zero123(CONFIGS[name])
    return prepare_for_inference(prior.to(dtype))


def ball(frames: int, size: int) -> Subject:
    """A ball that grows."""
    axis = torch.linspace(-1, 1, size)
    distance = (axis[:, None].square() + axis.square()).sqrt()
    radius = torch.linspace(0.4, 0.7, frames)[:, None, None]
    alpha = (distance < radius).float()[..., None]
    color = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0)).expand(
        frames, -1, -1, -1
    )
    return Subject(torch.cat([color, alpha], -1), torch.linspace(0, 1, frames), 10.0)


def begun(
    config: Consistent4DConfig, subject: Subject, prior: ScorePrior, interpolate: Any, device: str
) -> Consistent4DTrainer:
    """A trainer as training starts, some updates of its grid later."""
    trainer = Consistent4DTrainer(config, subject, prior, interpolate, device=device)
    for _ in range(8):
        trainer.grid.update(trainer.field)
    return trainer


def difference(*trainers: Consistent4DTrainer) -> list[float]:
    """Largest relative difference of the others' running means from the first's after the same steps."""
    for trainer in trainers:
        for _ in range(SAME):
            trainer.descend_reference_step()
            trainer.step += 1
    first, *others = (trainer.numbers for trainer in trainers)
    return [max(abs(other[name] - value) / abs(value) for name, value in first.items()) for other in others]


def measure(trainer: Consistent4DTrainer, kind: str, runs: int, warmup: int) -> tuple[float, float]:
    """Median milliseconds of a step, and peak GiB set aside on the device (nothing on a CPU)."""
    cuda = trainer.device.type == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(trainer.device)

    def step() -> None:
        if kind == "reference":
            trainer.descend_reference_step()
        else:
            trainer.descend(trainer.prior_step())
        trainer.step += 1

    times = []
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    for i in range(warmup + runs):
        wait()
        began = time.perf_counter()
        step()
        wait()
        if i >= warmup:
            times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_reserved(trainer.device) / 2**30 if cuda else 0.0
    return 1000 * statistics.median(times), peak


def profile(trainer: Consistent4DTrainer, kind: str) -> None:
    """Prints where three steps' time goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    cuda = trainer.device.type == "cuda"
    with profiler(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as profile:
        measure(trainer, kind, runs=3, warmup=0)
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    print(profile.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=70))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny networks on the CPU")
    parser.add_argument("--preset", default="standard", choices=list(PRESETS))
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="print where the time of three steps goes")
    parser.add_argument("--devices", type=int, default=1, help="cards with copies of the prior")
    parser.add_argument("--chunk", type=int, help="samples held at once, where not the preset's")
    options = parser.parse_args()
    device = "cpu" if options.tiny else "cuda"
    config = PRESETS[options.preset]
    dtype = getattr(torch, options.dtype)
    stages = ((64, 4), (256, 1))
    if options.tiny:
        stages, dtype = ((8, 4), (16, 1)), torch.float32
        config = replace(
            config,
            levels=FieldConfig((LevelConfig(8, 4, 4, 8),) * 2),
            samples_per_ray=16,
            n_reg_samples=64,
            grid_resolution=8,
        )
        options.runs, options.warmup = 2, 1
    if options.chunk:
        config = replace(config, chunk=options.chunk)
    prior = random_zero123("tiny" if options.tiny else "zero123", device, dtype)
    prior.spread(["cpu"] * (options.devices - 1) if options.tiny else more_devices(device, options.devices))
    subject = ball(4 if options.tiny else 32, prior.config.image_size)
    interpolate = as_interpolator(load_interpolator(device=device))
    place = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{place}, torch {torch.__version__}, {dtype}, preset {options.preset}, chunk {config.chunk}")
    print("| pixels | batch | step | ms | authors' ms | times faster | occupied | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for (size, batch), official_size in zip(stages, (64, 256), strict=True):
        for kind in ("reference", "prior", "with ICL"):
            if kind == "with ICL" and batch < 3:
                continue
            torch.manual_seed(0)
            here = replace(
                config, milestones=(Milestone(0, size, batch),), batch=KINDS.get(kind, BatchConfig())
            )
            score = Zero123ScorePrior(prior, guidance=GUIDANCE)
            assert subject.frames is not None
            score.condition(subject.frames, subject.elevation)
            trainer = begun(here, subject, score, interpolate, device)
            if trainer.recorder is not None and kind == "reference":
                plain, other = (begun(here, subject, score, interpolate, device) for _ in range(2))
                plain.recorder = other.recorder = None
                apart = difference(plain, other, trainer)
                print(
                    f"after {SAME} steps numbers differ by {apart[1]:.1e} of themselves at most from "
                    f"those of steps not recorded, which differ among themselves by {apart[0]:.1e}"
                )
            shown = float(trainer.grid.occupied.float().mean())
            ms, peak = measure(trainer, kind, options.runs, options.warmup)
            theirs = None if options.tiny else AUTHORS.get((official_size, kind))
            ratio = f"{theirs / ms:.1f}" if theirs else ""
            print(
                f"| {size} | {batch} | {kind} | {ms:.1f} | {theirs or ''} | {ratio} | {100 * shown:.0f} % "
                f"| {peak:.1f} |",
                flush=True,
            )
            if options.profile:
                profile(trainer, kind)
            del trainer, score
            if device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
