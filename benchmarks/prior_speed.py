"""Seconds and memory of the image matrix from a full-size prior, with random weights: no claim of quality.

    python benchmarks/prior_speed.py            # a CUDA card: all of it, then as if it had 24 and 12 GB
    python benchmarks/prior_speed.py --tiny     # anywhere, in seconds: does this script run?
    python benchmarks/prior_speed.py --budgets 0 --steps 3 --profile
    python benchmarks/prior_speed.py --budgets 0 --devices 1 2 4

16 frames x 16 views, 256 px, 50 steps of DDIM with eta 1, decomposed guidance (three UNet evaluations a
picture and step). Timed are encoding the frames, all steps, and decoding the pictures, after a warm-up of one
step; what comes after it (alpha) is told apart. A budget caps what torch may reserve on the card, so a case
that does not fit fails.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from vid4d import kernels
from vid4d.compute.machine import cpu_name
from vid4d.priors import syncdreamer, zero123
from vid4d.priors.latent_diffusion import LatentPrior
from vid4d.priors.multiview_sampling import (
    FullConfig,
    batch_within,
    draw,
    full_dtype,
    more_devices,
    prepare_for_inference,
    with_alpha,
)

AUTHORS_SECONDS, AUTHORS_GIB = 75.1, 69.4
"""The authors' code on an NVIDIA H200, same frames, views, steps and guidance, random full-size weights."""


KINDS = (
    ("attention", "flash|fmha|attention"),
    ("convolutions", "conv|fprop|dgrad|cudnn|nchwToNhwc|nhwcToNchw"),
    ("matrix products", "gemm|nvjet|cutlass|splitK"),
    ("group norm", "^_sums|_moments|_normalise|_gradient"),
    ("layer norm", "layer_norm"),
    ("gates", "geglu"),
    ("rays and volumes", "_rays|_sample_kernel|grid_sampl"),
    ("sums", "_plus|_add_bias|_doubled"),
    ("copies", "[Mm]emcpy|copy"),
)
"""Kinds of kernels by words in their names, the first that fits."""


@contextlib.contextmanager
def uninitialised() -> Iterator[None]:
    """Layers made inside have weights that nobody set, which is quick."""
    kinds: tuple[Any, ...] = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d)
    kept = {kind: kind.reset_parameters for kind in kinds}
    for kind in kinds:
        kind.reset_parameters = lambda self: None
    try:
        yield
    finally:
        for kind, reset in kept.items():
            kind.reset_parameters = reset


def random_prior(name: str, tiny: bool, device: str, dtype: torch.dtype) -> LatentPrior:
    """A network whose every layer does something, and whose numbers stay small."""
    prior: LatentPrior
    with uninitialised():
        if name == "syncdreamer":
            prior = syncdreamer.SyncDreamer(syncdreamer.CONFIGS["tiny" if tiny else "syncdreamer"])
        else:
            prior = zero123.Zero123(zero123.CONFIGS["tiny" if tiny else "zero123"])
    prior.to(device, dtype)
    torch.manual_seed(0)
    with torch.no_grad():
        for module in prior.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d)):
                module.weight.normal_(std=0.7 * module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    module.bias.zero_()
    return prepare_for_inference(prior)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def kernels_agree(prior: LatentPrior, frames: torch.Tensor) -> float:
    """Relative difference of one picture's latents-to-picture way and one step, with and without kernels."""
    predictions = []
    was = kernels.enabled
    for enabled in (False, True):
        kernels.enabled = enabled
        generator = torch.Generator().manual_seed(0)
        config = FullConfig(steps=1, batch=len(prior.cameras))
        predictions.append(draw(prior, frames[:1], 10.0, config, generator=generator).float())
    kernels.enabled = was
    return ((predictions[1] - predictions[0]).norm() / predictions[0].norm()).item()


@dataclass(frozen=True)
class Result:
    """seconds: encoding, the steps, decoding together. first: of the warm-up. gib: allocated and reserved."""

    batch: int
    first: float
    seconds: float
    step: float
    alpha: float
    gib: tuple[float, float]
    finite: bool


def measure(prior: LatentPrior, frames: torch.Tensor, config: FullConfig, device: str) -> Result:
    pairs = len(frames) * len(prior.cameras)
    batch = config.batch or batch_within(prior, config.memory_gb, pairs)
    config = replace(config, batch=batch)
    generator = torch.Generator().manual_seed(0)

    def run(steps: int) -> tuple[float, list[float], torch.Tensor]:
        stamps: list[float] = []

        def stamp(done: int, total: int) -> None:
            if done in (1, total):  # between them nobody waits, as in use
                synchronise(device)
            stamps.append(time.perf_counter())

        synchronise(device)
        began = time.perf_counter()
        pictures = draw(
            prior, frames, 10.0, replace(config, steps=steps), generator=generator, progress=stamp
        )
        synchronise(device)
        return time.perf_counter() - began, stamps, pictures

    first = run(1)[0]
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    seconds, stamps, pictures = run(config.steps)
    gib = (0.0, 0.0)
    if device.startswith("cuda"):
        gib = (
            torch.cuda.max_memory_allocated(device) / 2**30,
            torch.cuda.max_memory_reserved(device) / 2**30,
        )
    step = (stamps[-1] - stamps[0]) / max(1, len(stamps) - 1)
    began = time.perf_counter()
    with_alpha(pictures.permute(1, 0, 3, 4, 2).float().cpu())
    alpha = time.perf_counter() - began
    return Result(batch, first, seconds, step, alpha, gib, bool(pictures.isfinite().all()))


def profile(prior: LatentPrior, frames: torch.Tensor, config: FullConfig, device: str) -> None:
    """Prints where a step's time goes on a card, and what ran longest in three steps and what is around."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    kinds: dict[str, float] = dict.fromkeys((*dict(KINDS), "others"), 0.0)
    for steps in (1, 3):  # the difference is two steps, whose UNet is not recorded yet in the first
        with profiler(activities=activities) as profile:
            draw(
                prior, frames, 10.0, replace(config, steps=steps), generator=torch.Generator().manual_seed(0)
            )
            synchronise(device)
        rows = profile.key_averages()
        for row in rows:
            if row.device_type == DeviceType.CUDA:
                kind = next((kind for kind, words in KINDS if re.search(words, row.key)), "others")
                kinds[kind] += (1 if steps == 3 else -1) * row.self_device_time_total / 2000
    if cuda:
        print("ms of the card in a step: " + ", ".join(f"{kind} {ms:.0f}" for kind, ms in kinds.items()))
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    print(rows.table(sort_by=order, row_limit=40, max_name_column_width=70))


@contextlib.contextmanager
def attention(kind: str) -> Iterator[None]:
    """Prefers one implementation of torch's attention; what it cannot do falls to the others."""
    if kind == "auto":
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    first = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
    }[kind]
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel([first, *(o for o in others if o != first)], set_priority=True):
        yield


@contextlib.contextmanager
def capped(budget: float, device: str) -> Iterator[None]:
    """Torch may reserve no more than so many GiB of the card; 0 is no cap."""
    if not device.startswith("cuda") or budget == 0:
        yield
        return
    torch.cuda.empty_cache()
    index = torch.device(device).index or 0
    total = torch.cuda.get_device_properties(index).total_memory / 2**30
    torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", choices=("syncdreamer", "zero123"), default="syncdreamer")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frames", type=int, default=None, help="16; 2 with --tiny")
    parser.add_argument("--steps", type=int, default=None, help="50; 2 with --tiny")
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=None, help="GB of card; 0 is all that is free; 0 24 12"
    )
    parser.add_argument("--batch", type=int, default=None, help="pictures at a time, instead of by memory")
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="numbers of cards: 1 2")
    parser.add_argument("--attention", choices=("auto", "flash", "cudnn", "efficient"), default="auto")
    parser.add_argument("--compile", action="store_true", help="torch.compile the UNet")
    parser.add_argument("--plain", action="store_true", help="without kernels (priors/layers/fused_ops.py)")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on any machine")
    options = parser.parse_args()

    device, tiny = options.device, options.tiny
    if device == "cpu" and not tiny:
        parser.error("full-size networks need a CUDA card for this; --tiny runs anywhere")
    frames_count, steps = options.frames or (2 if tiny else 16), options.steps or (2 if tiny else 50)
    budgets = options.budgets or ([0, 0.2, 0.1] if tiny else [0, 24, 12])
    dtype = full_dtype(device)
    began = time.perf_counter()
    prior = random_prior(options.prior, tiny, device, dtype)
    views, size = len(prior.cameras), prior.image_size
    weights = sum(p.numel() * p.element_size() for p in prior.parameters()) / 2**30
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()
    config = FullConfig(steps=steps, sampler=options.sampler, batch=options.batch, compile=options.compile)
    guidance = len(config.guidance.variants()) if options.prior == "syncdreamer" else 2
    print(f"{where}, torch {torch.__version__}, {dtype}, {options.prior}{' (tiny)' if tiny else ''}")
    print(f"weights {weights:.2f} GiB, made in {time.perf_counter() - began:.0f} s")
    print(
        f"{frames_count} frames x {views} views, {size} px, {steps} steps of {options.sampler}, "
        f"{frames_count * views} x {guidance} UNet evaluations a step"
    )
    kernels.enabled = not options.plain
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(frames_count, size, size, 4, generator=generator)

    with attention(options.attention):
        if device.startswith("cuda") and not options.plain and not options.compile:
            difference = kernels_agree(prior, frames)
            print(f"with and without kernels: relative difference {difference:.2e}", flush=True)
            if not difference < 0.1:
                raise SystemExit(
                    "the kernels are wrong: run with --plain and look at priors/layers/fused_ops.py"
                )
        print("card (GB)  batch  warm-up (s)  step (s)  total (s)  alpha (s)  allocated  reserved (GiB)")
        for count, budget in itertools.product(options.devices, budgets):
            others = ["cpu"] * (count - 1) if device == "cpu" else more_devices(device, count)
            prior.spread(others)
            limited = replace(config, memory_gb=budget * 0.96 if budget else None)
            with capped(budget * 0.96, device):
                r = measure(prior, frames, limited, device)
            label = (f"{budget:g}" if budget else "all") + f" x {count}" * (count > 1)
            print(
                f"{label:>9}  {r.batch:5}  {r.first:11.1f}  {r.step:8.3f}  {r.seconds:9.1f}  {r.alpha:9.1f}  "
                f"{r.gib[0]:9.1f}  {r.gib[1]:8.1f}{'' if r.finite else '  NOT FINITE'}",
                flush=True,
            )
            if (frames_count, steps, views, tiny, options.prior) == (16, 50, 16, False, "syncdreamer"):
                print(
                    f"{'':>9}  {AUTHORS_SECONDS / r.seconds:.2f} times as fast as the authors' code "
                    f"({AUTHORS_SECONDS} s, {AUTHORS_GIB} GiB on an H200)"
                )
        if options.profile:
            profile(prior, frames, config, device)


if __name__ == "__main__":
    main()
