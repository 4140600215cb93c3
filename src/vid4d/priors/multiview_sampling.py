"""Sampling the authors' full-size priors: from a clip's frames to pictures from every view of the ring.

SyncDreamer draws all views of all frames together (time-synchronous, 2401.08742, section 3.2). Zero123 draws
each picture by itself: only the noise is the same for all frames, so views agree less with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.compute.threads import free_threads
from vid4d.errors import InputError
from vid4d.kernels import channels_last
from vid4d.media.images import over_white, to_uint8
from vid4d.media.keying import remove_white_background
from vid4d.priors.base import DrawnViews, DrawRequest
from vid4d.priors.guidance import Decomposed, Guidance
from vid4d.priors.latent_diffusion import LatentPrior
from vid4d.priors.pictures import check_size
from vid4d.priors.precision import best_dtype
from vid4d.priors.samplers import SAMPLERS, ProgressCallback, Sampling
from vid4d.priors.weights import registry
from vid4d.priors.weights.convert import load_converted
from vid4d.priors.weights.loaded import loaded_once

P = TypeVar("P", bound=nn.Module)

CPU_BATCH = 16
"""Pictures at a time where memory is not counted."""

RESERVE_GB = 1.0
"""Memory of a graphics card that is left alone: libraries' workspaces, fragments."""


@dataclass(frozen=True)
class FullConfig(Sampling):
    """Sampling options of the full-size priors; the defaults are the papers'.

    guidance: of SyncDreamer (2401.08742, section 3.2). scale: of Zero123's classifier-free guidance
    (2303.11328, code). smooth: average the steps' volumes over time. memory_gb: what the prior may use, its
    weights included; None takes what is free. batch: pictures at a time instead. compile: torch.compile fuses
    the UNet, which costs minutes once.
    """

    guidance: Guidance = field(default_factory=Decomposed)
    scale: float = 3.0
    smooth: bool = True
    memory_gb: float | None = None
    batch: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise InputError(f"{self.memory_gb:g} GB of memory hold nothing: give more, or leave it out")


PRESETS = {
    "draft": FullConfig(steps=12, sampler="unipc"),
    "standard": FullConfig(steps=20, sampler="unipc"),
    "high": FullConfig(),
}
"""Sampling options of a run's presets for full-size priors; frames and fit are the method's. `high` samples
as the papers do; what 20 steps of UniPC change, `benchmarks/sampler_steps.py` tells."""


def configured(request: DrawRequest) -> FullConfig:
    """Configuration of a request: its preset, sampler, steps, memory; 'auto' keeps the preset's sampler.

    Another sampler than the preset's comes with its own number of steps.
    """
    config = PRESETS[request.preset]
    if request.sampler not in ("auto", config.sampler):
        config = replace(config, sampler=request.sampler, steps=SAMPLERS[request.sampler].steps)
    return replace(config, steps=request.steps or config.steps, memory_gb=request.memory_gb)


@loaded_once
def load_full_prior(
    name: str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> LatentPrior:
    """A prior whose weights are on this machine. Raises InputError, which says how to get them, otherwise."""
    path, architecture = registry.require(name), registry.network_of(name)
    network = load_converted(path, device, dtype or full_dtype(device), networks=(architecture,))
    return prepare_for_inference(cast(LatentPrior, network))


def more_devices(device: torch.device | str, count: int) -> list[torch.device]:
    """The graphics cards after `device` that make it so many in all.

    Raises InputError where the machine has fewer.
    """
    if count == 1:
        return []
    first = torch.device(device)
    if first.type != "cuda":
        raise InputError(f"--devices {count} are graphics cards, and --device is {first.type}: leave it out")
    index = first.index if first.index is not None else torch.cuda.current_device()
    if index + count > torch.cuda.device_count():
        raise InputError(
            f"--devices {count} from cuda:{index} on are more than the {torch.cuda.device_count()} graphics "
            "cards that are here"
        )
    return [torch.device("cuda", i) for i in range(index + 1, index + count)]


def full_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the card has it, float16 on older ones; on the processor what is fastest there."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return best_dtype(device)


def prepare_for_inference(network: P) -> P:
    """Network in evaluation mode, on a graphics card in the layout that convolutions are fastest in."""
    network.eval().requires_grad_(False)
    if next(network.parameters()).is_cuda:
        channels_last(network)
    return network


def batch_within(prior: LatentPrior, memory_gb: float | None, pairs: int) -> int:
    """Batch size of sampling: (frame, view) pairs at a time, at most `pairs`.

    memory_gb: what the prior may use, weights included; what is free on a graphics card where not given.
    Whole sixteens where it can be, at least one. Raises InputError where not even one fits.
    """
    device, pairs = prior.device, math.ceil(pairs / (1 + len(prior.copies)))
    if memory_gb is None and device.type != "cuda":
        return min(CPU_BATCH, pairs)
    if memory_gb is None:
        free = torch.cuda.mem_get_info(device)[0]
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        weights = sum(p.numel() * p.element_size() for p in prior.parameters())
        memory_gb = (free + cached + weights) / 2**30
    if device.type == "cuda":
        memory_gb = max(memory_gb - RESERVE_GB, 1e-3)
    fitting = min(prior.pairs_within(memory_gb), pairs)
    return fitting - fitting % 16 if 16 <= fitting < pairs else fitting


@contextmanager
def _prepared(prior: LatentPrior, compiled: bool) -> Iterator[None]:
    """The UNet is compiled where that is wanted, and convolutions are those that cuDNN takes unmeasured.

    Measuring them makes a step 1 to 3 % faster and takes as long as twelve steps, and what it finds is not
    the same every time.
    """
    unet: nn.Module = prior.unet
    if compiled and unet._compiled_call_impl is None:
        unet.compile(dynamic=False)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True):
        yield


@torch.no_grad()
def draw(
    prior: LatentPrior,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    config: FullConfig | None = None,
    *,
    cyclic: bool = False,
    generator: torch.Generator | None = None,
    progress: ProgressCallback | None = None,
) -> Float[Tensor, "t v 3 h w"]:
    """Colors over white from every view of the ring at every frame; arguments as in `sample_full_prior`."""
    config = config or FullConfig()
    check_size(frames, prior.image_size)
    images = over_white(frames).permute(0, 3, 1, 2)
    batch = config.batch or batch_within(prior, config.memory_gb, len(frames) * len(prior.cameras))
    common: dict[str, Any] = {"batch": batch, "generator": generator, "progress": progress}
    common |= prior.sampling_options(config, cyclic)
    with _prepared(prior, config.compile):
        return prior.sample(images, elevation, config, **common)


def sample_full_prior(
    prior: LatentPrior,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    config: FullConfig | None = None,
    *,
    cyclic: bool = False,
    generator: torch.Generator | None = None,
    progress: ProgressCallback | None = None,
) -> Float[Tensor, "v t h w 4"]:
    """Pictures of the object from every view of the ring at every frame.

    frames: straight-alpha RGBA in [0, 1], of the prior's picture size. elevation: of the input camera,
    degrees. The noise is the same for all frames. Alpha is found from the white that these priors draw.

    Raises InputError for frames of another size, and where the memory does not suffice.
    """
    pictures = draw(prior, frames, elevation, config, cyclic=cyclic, generator=generator, progress=progress)
    return with_alpha(pictures.permute(1, 0, 3, 4, 2).float().cpu())


def with_alpha(pictures: Float[Tensor, "v t h w 3"]) -> Float[Tensor, "v t h w 4"]:
    """Colors over white in [0, 1] as straight-alpha RGBA."""
    flat = to_uint8(pictures.flatten(0, 1))
    with ThreadPoolExecutor(free_threads()) as pool:
        cut = np.stack(list(pool.map(remove_white_background, flat)))
    return torch.from_numpy(cut).float().div(255).unflatten(0, pictures.shape[:2])


class MultiviewMatrixPrior:
    """A full-size prior as methods see it."""

    def __init__(self, network: LatentPrior) -> None:
        self.network = network
        self.image_size = network.image_size

    def draw(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        generator: torch.Generator | None = None,
        progress: ProgressCallback | None = None,
    ) -> DrawnViews:
        """As `MatrixPrior.draw`."""
        config = configured(request)
        self.network.spread(more_devices(self.network.device, request.devices))
        views = sample_full_prior(
            self.network, frames, elevation, config, cyclic=cyclic, generator=generator, progress=progress
        )
        return DrawnViews(views, self.network.cameras)


def load_matrix_prior(name: str, device: torch.device | str = "cpu") -> MultiviewMatrixPrior:
    """A full-size prior whose weights are on this machine, to draw an image matrix. Raises InputError, which
    says how to get them, otherwise."""
    return MultiviewMatrixPrior(load_full_prior(name, device))
