"""Confidence maps: how well each generated image agrees with its neighbours in time.

Efficient4D (2401.08742), section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.metrics.losses import Middle, ssim_map

ErrorKind = Literal["ssim", "l1"]


def error_map(
    image: Float[Tensor, "n h w 3"], predicted: Float[Tensor, "n h w 3"], kind: ErrorKind = "ssim"
) -> Float[Tensor, "n h w"]:
    """Error per pixel: 1 - SSIM averaged over the channels, or the absolute difference summed over them.

    SSIM in float64: over a plain background the variances cancel to the last digits of float32.
    """
    if kind == "ssim":
        return 1 - ssim_map(image.double(), predicted.double()).mean(-1).to(image.dtype)
    if kind == "l1":
        return (image - predicted).abs().sum(-1)
    raise ValueError(f"unknown error kind {kind!r}, expected 'ssim' or 'l1'")


def confidence_from_error(error: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """(max - error) / max(max - error), per image: 1 at the best pixel, 0 at the worst; all equal: 1."""
    gap = error.amax((-2, -1), keepdim=True) - error
    widest = gap.amax((-2, -1), keepdim=True)
    return torch.where(widest > 0, gap / widest.clamp(min=torch.finfo(error.dtype).tiny), 1.0)


@torch.no_grad()
def confidence_maps(
    images: Float[Tensor, "v t h w c"],
    middle: Middle,
    *,
    kind: ErrorKind = "ssim",
    cyclic: bool = False,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "v t h w"]:
    """Confidence of every pixel of an image matrix, in [0, 1].

    Each image is predicted from its temporal neighbours at distance 1 and at distance 2 by `middle`, and
    the two errors are averaged. Open clips: the first and the last frame get 1, the second and the
    second-last use distance 1 only. Cyclic clips wrap around (distance 2 from 5 frames, 1 from 3 frames on).

    images: RGBA with premultiplied color, as interpolators that were made for objects without background,
    like the shipped one, want it; compared over white. Or colors over a uniform background.
    middle: called once per frame and distance with all views. device: measures them, see `measuring`.
    """
    times = images.shape[1]
    maps = []
    for i in range(times):
        reach = (times - 1) // 2 if cyclic else min(i, times - 1 - i)
        pairs = [(images[:, (i - d) % times], images[:, (i + d) % times]) for d in (1, 2) if d <= reach]
        maps.append(_confidence(images[:, i], pairs, middle, kind, device))
    return torch.stack(maps, 1)


@torch.no_grad()
def confidences(
    moments: Iterable[Float[Tensor, "v h w c"]],
    count: int,
    middle: Middle,
    *,
    cyclic: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, Float[Tensor, "v h w"]]]:
    """`confidence_maps` of pictures that come moment by moment, with the moments' numbers.

    Few moments are held at a time: those of a clip come in order, of a loop the first two last.
    count: of the moments, 5 at least. device: as there.
    """
    if count < 5:
        raise ValueError(f"{count} moments are no sequence that goes by")
    near: dict[int, Tensor] = {}
    first: list[Tensor] = []

    def of(i: int) -> tuple[int, Tensor]:
        reach = 2 if cyclic else min(2, i, count - 1 - i)
        pairs = [(near[i - d], near[i + d]) for d in (1, 2) if d <= reach]
        return i % count, _confidence(near[i], pairs, middle, "ssim", device)

    place = -1
    for place, images in enumerate(moments):
        near[place] = images
        if cyclic and place < 4:
            first.append(images)
        if place >= (4 if cyclic else 2):
            yield of(place - 2)
            near.pop(place - 4, None)
    if place + 1 != count:
        raise ValueError(f"{place + 1} moments came where {count} were announced")
    for place, images in enumerate(first, count):
        near[place] = images
        yield of(place - 2)
    if not cyclic:
        yield of(count - 2)
        yield of(count - 1)


def measuring(device: torch.device | str) -> torch.device:
    """Device that measures errors for networks on another: the same, if it has double precision."""
    device = torch.device(device)
    return device if device.type == "cuda" else torch.device("cpu")


def _confidence(
    image: Float[Tensor, "v h w c"],
    pairs: Sequence[tuple[Tensor, Tensor]],
    middle: Middle,
    kind: ErrorKind,
    device: torch.device | str,
) -> Float[Tensor, "v h w"]:
    """Confidence of a moment by pairs of its neighbours in time, where it lies; 1 where there are none."""
    if not pairs:
        return torch.ones_like(image[..., 0])
    shown, errors = _colors(image.to(device)), []
    for one, other in pairs:
        errors.append(error_map(shown, _colors(middle(one.to(device), other.to(device))), kind))
    return confidence_from_error(torch.stack(errors).mean(0)).to(image.device)


def _colors(images: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w 3"]:
    """Colors as they are, premultiplied RGBA over white."""
    return images if images.shape[-1] == 3 else images[..., :3] + (1 - images[..., 3:])
