"""What fewer steps of a sampler cost: pictures drawn with an exact score, without any network's error.

    python benchmarks/sampler_steps.py [--pictures 128]

The data are pictures of the animal of `examples/make_hopper.py` in 48 poses from 16 sides, 32 x 32 RGBA,
each with a little grain of its own: a mixture of Gaussians, whose score at any noise level is known. A
picture is asked for by its side, as of a prior that knows the view, with classifier-free guidance. All
samplers start from the same noise, and each picture is compared with where the flow of the same score
leads (1,000 steps without new noise). *Another* counts the pictures that show another pose, *off* tells
how different the poses that are shown are on average, *grain* how far a picture is from its pose, both as
root mean squares over a picture's values, of 255. DDIM with eta 1 adds noise of its own, so only its
grain says something of it.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.media.images import over_white
from vid4d.priors.samplers import Denoiser, NoiseSchedule, Sampling, draw_samples
from vid4d.training.mesh_render import fit_to_frame, render_meshes
from vid4d.training.meshes import MeshBank

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import make_hopper

SIZE, POSES, SIDES = 32, 48, 16
GRAIN = 0.04
"""Standard deviation of each picture's own noise; values reach from -1 to 1."""
GUIDANCE = 2.0
FLOW = Sampling("ddim", steps=1000, eta=0.0)
SAMPLERS = (
    Sampling("ddim", steps=50),
    Sampling("ddim", steps=50, eta=0.0),
    Sampling("ddim", steps=20, eta=0.0),
    Sampling("dpm", steps=20),
    Sampling("unipc", steps=30),
    Sampling("unipc", steps=20),
    Sampling("unipc", steps=12),
    Sampling("unipc", steps=8),
)


def pictures() -> Float[Tensor, "sides poses d"]:
    """The animal over white with its alpha, in [-1, 1]."""
    bank = MeshBank([make_hopper.hopper(POSES)])
    poses = torch.arange(POSES)
    batch = bank.batch(torch.zeros(POSES, dtype=torch.long), poses)
    placed = fit_to_frame(
        batch, Cameras.orbit(0.0, 10.0, size=SIZE), group=torch.zeros(POSES, dtype=torch.long)
    )
    sides = []
    for side in range(SIDES):
        cameras = Cameras.orbit([side * 360 / SIDES] * POSES, 10.0, size=SIZE)
        rgba = render_meshes(placed, cameras, torch.arange(POSES))
        sides.append(torch.cat([over_white(rgba), rgba[..., 3:]], -1).flatten(1) * 2 - 1)
    return torch.stack(sides)


def exact(data: Float[Tensor, "s p d"], side: Int[Tensor, " n"], schedule: NoiseSchedule) -> Denoiser:
    """The noise in pictures, as the best of all networks would tell it, guided by the side."""
    means = data.flatten(0, 1)
    lengths = means.square().sum(-1)
    others = torch.arange(len(data)).repeat_interleave(data.shape[1]) != side[:, None]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = float(schedule.alphas_cumprod[int(t)].double())
        variance = a * GRAIN**2 + 1 - a
        likely = (math.sqrt(a) * x @ means.T - a / 2 * lengths) / variance
        untold = torch.softmax(likely, 1) @ means
        told = torch.softmax(likely.masked_fill(others, -torch.inf), 1) @ means
        guided = untold + GUIDANCE * (told - untold)
        return math.sqrt(1 - a) / variance * (x - math.sqrt(a) * guided)

    return denoise


def rms(x: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
    """Of a picture's values, of 255."""
    return x.square().mean(-1).sqrt() * 127.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=128)
    options = parser.parse_args()
    data, schedule = pictures().double(), NoiseSchedule.scaled_linear()
    side = torch.arange(options.pictures) % SIDES
    denoise = exact(data, side, schedule)

    def draw(sampling: Sampling) -> Tensor:
        generator = torch.Generator().manual_seed(0)

        def noise(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=like.dtype)

        start = noise(torch.empty(options.pictures, data.shape[-1], dtype=data.dtype))
        return draw_samples(denoise, start, schedule, sampling, noise=noise)

    own = data[side]
    shown = rms(draw(FLOW)[:, None] - own).argmin(1)
    each = torch.arange(len(own))
    print(f"{options.pictures} pictures, guidance {GUIDANCE:g}, grain of the data {GRAIN * 127.5:.1f}")
    print("| sampler | steps | another | off | grain |")
    print("|---|---|---|---|---|")
    for sampling in (*SAMPLERS, FLOW):
        away = rms(draw(sampling)[:, None] - own)
        grain, pose = away.min(1)
        off = rms(own[each, pose] - own[each, shown])
        random = sampling.sampler == "ddim" and sampling.eta is None
        told = (
            " | " if random else f"{100 * float((off > 0).double().mean()):.0f} % | {float(off.mean()):.2f}"
        )
        name = sampling.sampler + (", eta 1" if random else "")
        print(f"| {name} | {sampling.steps} | {told} | {float(grain.mean()):.1f} |", flush=True)


if __name__ == "__main__":
    main()
