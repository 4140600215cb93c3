"""Training of the small sharpener on renders of models, and on what fits of inconsistent pictures do to them.

A fit shows the mean of pictures that do not agree: outlines and details stand at slightly other places in
each, and all come from pictures of fewer pixels. So a sharp picture is bent several times at random, the bent
ones are averaged, and blurred; fine bends of the result are the ragged edges of splats.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.enhance.sharpener import Sharpener
from vid4d.training.trainer import LossFunction, SideStream
from vid4d.training.views import TrainingViews, ViewSource, uniform

CROP = 96
"""Pixels of what a step looks at."""
REUSE = 40
"""Steps that a batch of renders serves, each with other crops and other blur."""
COPIES = 3
"""Bent copies that are averaged."""


def render_batches(model: Sharpener, source: ViewSource, n: int, device: torch.device) -> SideStream:
    """Batches of views of n objects."""
    return SideStream(lambda: source.draw(n), device, reuse=REUSE)


def pictures_of(views: TrainingViews) -> Float[Tensor, "m 3 h w"]:
    """All pictures of a batch: RGB over white in [0, 1]."""
    return (torch.cat([views.picture[:, None], views.targets], 1).flatten(0, 1)[:, :3] + 1) / 2


def cropped(pictures: Float[Tensor, "m 3 h w"], crop: int) -> Float[Tensor, "m 3 crop crop"]:
    """A random part of each picture."""
    parts = []
    for picture in pictures:
        y, x = (int(torch.randint(side - crop + 1, ())) for side in picture.shape[1:])
        parts.append(picture[:, y : y + crop, x : x + crop])
    return torch.stack(parts)


def displacements(
    m: int, size: int, pixels: Float[Tensor, " m"], cells: int
) -> Float[Tensor, "m size size 2"]:
    """Smooth random fields, in halves of a picture. pixels: standard deviation. cells: along a side."""
    knots = torch.randn(m, 2, cells, cells, device=pixels.device) * (2 / size * pixels)[:, None, None, None]
    return F.interpolate(knots, (size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def bent(
    pictures: Float[Tensor, "m 3 size size"], field: Float[Tensor, "m size size 2"]
) -> Float[Tensor, "m 3 size size"]:
    """Pictures moved by a field."""
    straight = torch.eye(2, 3, device=field.device).expand(len(field), -1, -1)
    grid = F.affine_grid(straight, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid + field, padding_mode="border", align_corners=False)


def blurred(
    pictures: Float[Tensor, "m 3 h w"], sigma: Float[Tensor, " m"], radius: int = 8
) -> Float[Tensor, "m 3 h w"]:
    """Pictures under a Gaussian of a standard deviation of their own, in pixels."""
    m, c, h, w = pictures.shape
    offset = torch.arange(-radius, radius + 1, device=pictures.device)
    taps = torch.exp(-(offset.square()) / (2 * sigma[:, None].square().clamp(min=1e-4)))
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = F.pad(pictures, (radius,) * 4, mode="replicate").reshape(1, m * c, h + 2 * radius, w + 2 * radius)
    x = F.conv2d(x, taps[:, None, :, None], groups=m * c)
    return F.conv2d(x, taps[:, None, None, :], groups=m * c).view(m, c, h, w)


def spoiled(sharp: Float[Tensor, "m 3 size size"]) -> Float[Tensor, "m 3 size size"]:
    """Pictures as a fit of inconsistent ones shows them: on average nothing is moved."""
    m, size, device = len(sharp), sharp.shape[-1], sharp.device
    apart, cells = uniform(m, 0.3, 2.5, device), int(torch.randint(3, 9, ()))
    fields = torch.stack([displacements(m, size, apart, cells) for _ in range(COPIES)])
    mean = torch.stack([bent(sharp, field) for field in fields - fields.mean(0)]).mean(0)
    soft = blurred(mean, uniform(m, 0.4, 2.4, device))
    return bent(soft, displacements(m, size, uniform(m, 0.0, 0.8, device), size // 5)).clamp(0, 1)


def sharpening_loss(model: Sharpener, source: SideStream, device: torch.device) -> LossFunction:
    """Absolute differences of pictures and of their gradients. source: of `render_batches`."""

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        sharp = cropped(pictures_of(source.next()), CROP)
        blurry = spoiled(sharp)
        made = model(blurry)
        with torch.no_grad():
            gained = -10 * torch.log10(_error(made, sharp) / _error(blurry, sharp))
        total = (made - sharp).abs().mean() + 0.5 * sum(
            (made.diff(dim=d) - sharp.diff(dim=d)).abs().mean() for d in (2, 3)
        )
        return total, {"gain_db": gained.mean()}

    return loss


def _error(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(1).clamp(min=1e-6)
