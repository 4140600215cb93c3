"""Latent diffusion conditioned on a picture and a change of camera: the base of Zero123 and SyncDreamer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Any, Self, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d.cameras import Cameras
from vid4d.errors import MachineError
from vid4d.kernels.cuda_graphs import Recorder
from vid4d.priors.layers.autoencoder import Autoencoder
from vid4d.priors.layers.clip_vision import CLIPVision
from vid4d.priors.layers.unet import UNet

LATENT_SCALE = 0.18215
"""Latents are multiplied with it before they are noised."""


def _settle(device: torch.device) -> None:
    """Waits for what a graphics card has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


SAME = 0.05
"""Relative difference between cards of one kind that rounding in half precision does not reach."""


class LatentPrior(nn.Module):
    """A UNet over an autoencoder's latents; cc_projection joins CLIP embedding and change of camera.

    Pictures that come in and go out are RGB in [0, 1] over white, `image_size` wide and high. cameras: the
    views that `sample` draws. copies: of this network on other devices, which share its work.
    """

    cc_projection: nn.Linear
    unet: UNet
    autoencoder: Autoencoder
    clip: CLIPVision
    cameras: Cameras
    image_size: int
    copies: tuple[Self, ...] = ()
    _threads: tuple[ThreadPoolExecutor, ...] = ()
    """One for each copy, as long as there is one: what cuDNN found out of a convolution is its thread's."""
    _recorder: Recorder | None = None

    def spread(self, devices: Sequence[torch.device | str]) -> None:
        """Puts copies of the network on these devices, besides where it is. None takes them away."""
        wanted = [torch.device(device) for device in devices]
        if [network.device for network in self.copies] != wanted:
            self.copies, self._threads = (), ()
            self.copies = tuple(cast(Self, copy.deepcopy(self).to(device)) for device in wanted)
            self._threads = tuple(ThreadPoolExecutor(1) for _ in wanted)

    def shared_out(self, work: Callable[[Self, slice], Tensor], count: int) -> Tensor:
        """The work of `count` items in even shares, by this network and its copies at the same time.

        work: is called with a network and the slice of the items that it does, and gives a row for each, on
        that network's device. Returns all rows, on this network's device. Without a gradient.

        Cards are waited for before and after: what one reads of another is there.
        """
        networks: list[Self] = [self, *self.copies][:count]
        if len(networks) == 1:
            return work(self, slice(0, count))
        bounds = [count * i // len(networks) for i in range(len(networks) + 1)]

        def share(i: int) -> Tensor:
            device = networks[i].device
            here = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
            with torch.no_grad(), here:
                rows = work(networks[i], slice(bounds[i], bounds[i + 1]))
            _settle(device)
            return rows

        _settle(self.device)
        others = [thread.submit(share, i) for i, thread in enumerate(self._threads[: len(networks) - 1], 1)]
        try:
            parts = [share(0)]
        finally:
            wait(others)
        return torch.cat([rows.to(self.device) for rows in [*parts, *(other.result() for other in others)]])

    def batches(self, total: int, batch: int) -> Iterator[Int[Tensor, " b"]]:
        """Indices of so many items, at most `batch` at a time, on this network's device.

        All batches are of one size, so that what is tuned for it and recorded serves them all; the last one
        repeats the last item.
        """
        size = math.ceil(total / math.ceil(total / batch))
        for begin in range(0, total, size):
            yield torch.arange(begin, begin + size, device=self.device).clamp(max=total - 1)

    def check_copies(self, noise: Float[Tensor, "n ..."], latents: Float[Tensor, "c h w"]) -> None:
        """Raises MachineError unless this network and its copies make the same of the same input.

        noise: predicted of the same input, an equal share by each. latents: that each decodes.
        """
        count = 1 + len(self.copies)
        pictures = self.decode(latents.expand(count, *latents.shape))
        for rows in (noise, pictures):
            shares = rows.float().unflatten(0, (count, -1))
            apart = (shares - shares[0]).flatten(1).norm(dim=1) / shares[0].norm()
            for network, distance in zip(self.copies, apart[1:].tolist(), strict=True):
                if not distance < SAME:
                    raise MachineError(
                        f"{network.device} does not give what {self.device} gives (relative difference "
                        f"{distance:.2g}): leave --devices out"
                    )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While it lasts, what is `played` on graphics cards is recorded and then started with one call.

        Starting a UNet's kernels from Python takes as long as a hundred pictures keep a card busy, and
        threads for several cards have to do it one after the other.
        """
        networks: list[LatentPrior] = [self, *self.copies]
        for network in networks:
            if network.device.type == "cuda" and network.unet._compiled_call_impl is None:
                network._recorder = Recorder(pure=True)
        try:
            yield
        finally:
            for network in networks:
                if network._recorder is not None:
                    _settle(network.device)  # a recording may still be played
                network._recorder = None

    def played(self, kind: Hashable, work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The work of this network on inputs on its device; see `kernels.cuda_graphs.Recorder`."""
        if self._recorder is None:
            return work(*inputs)
        return self._recorder(kind, lambda *values: (work(*values),), inputs)[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.cc_projection.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.cc_projection.weight.device

    def context(self, embedding: Float[Tensor, "b e"], view: Float[Tensor, "b 4"]) -> Float[Tensor, "b 1 k"]:
        """The cross-attention token of a picture seen from a view, which `view_change` describes."""
        return self.cc_projection(torch.cat([embedding, view.to(embedding)], -1))[:, None]

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "*n c h w"], batch: int = 4) -> Float[Tensor, "*n 3 h2 w2"]:
        """Pictures in [0, 1] from latents scaled by 0.18215; so many at a time."""
        flat = (latents / LATENT_SCALE).flatten(0, -4).to(self.device, self.dtype)

        def decoded(prior: LatentPrior, part: slice) -> Tensor:
            return torch.cat([prior.autoencoder.decode(z) for z in flat[part].to(prior.device).split(batch)])

        images = self.shared_out(decoded, len(flat))
        return ((images.float() + 1) / 2).clamp(0, 1).unflatten(0, latents.shape[:-3])

    def pair_values(self) -> int:
        """Numbers that one (frame, view) pair keeps in memory in a denoising step."""
        raise NotImplementedError

    def pairs_within(self, memory_gb: float) -> int:
        """Number of (frame, view) pairs that fit into this much memory beside the weights.

        Raises MachineError where not even one fits.
        """
        width = torch.finfo(self.dtype).bits // 8
        weights = sum(p.numel() for p in self.parameters()) * width
        pair = self.pair_values() * width
        free = memory_gb * 2**30 - weights
        if free < pair:
            raise MachineError(
                f"{memory_gb:.3g} GB of memory cannot hold this prior: it needs "
                f"{(weights + pair) / 2**30:.3g} GB, so give it more with --memory, or end what else uses it"
            )
        return int(free // pair)

    def sampling_options(self, config: Any, cyclic: bool) -> dict[str, Any]:
        """Keyword arguments of `sample` from a `multiview_sampling.FullConfig`, besides steps and sampler."""
        raise NotImplementedError

    def sample(self, *args: Any, **kwargs: Any) -> Float[Tensor, "t v 3 h w"]:
        """Pictures of the object from every view of `cameras` at every frame."""
        raise NotImplementedError
