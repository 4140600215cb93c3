"""Random numbers that follow from a seed and a step alone, so that a resumed run draws what a whole one does.

The formulas are part of what a run makes: other ones are other assets for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

FIT_PICTURES, FIT_INPUT_FRAMES = 7_368_787, 4_256_249
"""Streams of `epoch_generator`."""


def step_generator(
    seed: int, step: int, purpose: int | None = None, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The random numbers of a step: the same on every device of a kind.

    purpose: 0 to 9, where a step needs several independent streams.
    """
    number = seed * 1_000_003 + step
    return torch.Generator(device).manual_seed(number if purpose is None else number * 10 + purpose)


def seed_generator(seed: int) -> torch.Generator:
    """Generator of random numbers that are drawn all at once, independent of any step."""
    return torch.Generator().manual_seed(seed)


def seed_default_generator(seed: int) -> None:
    """Seeds PyTorch's own generators, which first weights are drawn from, and the batches of a training."""
    torch.manual_seed(seed)


def rank_seed(seed: int, rank: int, step: int = 0) -> int:
    """The seed of one of the processes that train a network; of a resumed training, from that step on."""
    return seed * 1000 + rank + 1 + 1_000_003 * step


def epoch_generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """The random numbers of an epoch, which has everything once in random order. stream: a large prime."""
    return torch.Generator().manual_seed((seed + 1) * stream + epoch)


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of a shape, of the type of `like` and where that is; no device is waited for.

    They are drawn where the generator is (of `like`'s device without one), so the same on all devices.
    """
    if generator is None or generator.device == like.device:
        return torch.randn(*shape, generator=generator, device=like.device).to(like.dtype)
    drawn = torch.randn(*shape, generator=generator, device=generator.device)
    if like.is_cuda and not drawn.is_cuda:
        drawn = drawn.pin_memory()  # others are sent after all that the device has yet to do
    return drawn.to(like.device, non_blocking=like.is_cuda).to(like.dtype)


class Shuffled:
    """Numbers 0 to count - 1, each once an epoch, in an order that the epoch's generator draws."""

    def __init__(self, count: int, generator: Callable[[int], torch.Generator]) -> None:
        self.count, self.generator = count, generator
        self._epoch: int | None = None
        self._order: Int[Tensor, " n"] = torch.empty(0, dtype=torch.long)

    def __getitem__(self, index: int) -> int:
        """The number that comes at place `index`, counted over all epochs."""
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=self.generator(epoch))
        return int(self._order[place])
