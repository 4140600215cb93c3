"""Pictures of a long clip's key frames, kept as soon as they are drawn: a stopped run goes on from there."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.errors import InputError, ran_out
from vid4d.files.checkpoints import load_checkpoint, restoring, save_checkpoint

Views = Float[Tensor, "v h w 4"]

LARGEST = 1 << 30
"""Bytes of a moment's pictures, which its file says itself."""


class _State(TypedDict):
    """shape: of the pictures, which are kept as compressed bytes of float32, exactly."""

    shape: list[int]


def kept_or_drawn(
    draw: Callable[[int], Iterator[Views]], count: int, place: Callable[[int], Path], identity: str
) -> Iterator[Views]:
    """Pictures of `count` key frames, in their order: those that were kept, then drawn ones, which are kept.

    draw: gives the pictures from a key frame on. place: of the file that keeps those of one. identity: of all
    that they depend on.
    """
    first = 0
    while first < count and (images := _kept(place(first), identity)) is not None:
        yield images
        first += 1
    if first < count:
        for i, images in enumerate(draw(first), first):
            _keep(place(i), images, identity)
            yield images


def _keep(path: Path, images: Views, identity: str) -> None:
    packed = zlib.compress(images.float().contiguous().numpy().tobytes(), 1)
    tensor = torch.from_numpy(np.frombuffer(packed, np.uint8).copy())
    save_checkpoint(path, {"images": tensor}, {"shape": list(images.shape)}, identity)


def _kept(path: Path, identity: str) -> Views | None:
    """None where there is none, or one that is damaged or belongs to something else: it is drawn again."""
    if not path.is_file():
        return None
    try:
        tensors, state = load_checkpoint(path, identity, "clip or settings", _State)
        with restoring(path):
            shape = tuple(state["shape"])
            size = 4 * int(np.prod(shape))
            if not 0 < size <= LARGEST:
                raise ValueError(f"pictures of shape {shape}")
            unpacked = zlib.decompressobj().decompress(tensors["images"].numpy().tobytes(), size)
            return torch.from_numpy(np.frombuffer(unpacked, np.float32).copy().reshape(shape))
    except InputError as error:
        if ran_out(error):
            raise
        return None
