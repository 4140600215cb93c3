"""Fused operations between a network's matrix products: as few passes over memory as possible.

For networks that do not learn, on CUDA and with pictures laid out channels last, there are kernels of our
own (Triton, which comes with torch there): torch's own group normalisation leaves that layout, and
convolutions add their bias in a pass of its own. Normalisation lets a gradient through, so an autoencoder can
take one to a picture. Everywhere else, and while torch.compile traces, plain torch does the same.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d import kernels

Activation = Literal["none", "silu", "relu"]
_PLAIN = {"none": lambda x: x, "silu": F.silu, "relu": F.relu}
_FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def is_channels_last(x: Float[Tensor, "b c *s"]) -> bool:
    """Test for the channels-last layout: channels of a position side by side, positions in order."""
    return x.ndim >= 4 and x.movedim(1, -1).is_contiguous()


def usable(x: Tensor) -> bool:
    """Availability of the kernels that have no gradient for this tensor, in any layout."""
    return not torch.is_grad_enabled() and _is_supported(x)


def _is_supported(x: Tensor) -> bool:
    """Availability of fused kernels for this dtype and device."""
    return x.dtype in _FLOATS and kernels.available(x)


def normalisable(x: Tensor, norm: nn.GroupNorm, add: Tensor | None = None) -> bool:
    """Availability of fused `group_norm` for this input: a gradient goes through x, but not to the rest."""
    learnt = torch.is_grad_enabled() and any(
        p is not None and p.requires_grad for p in (norm.weight, norm.bias, add)
    )
    return not learnt and _is_supported(x) and is_channels_last(x)


def group_norm(
    norm: nn.GroupNorm,
    x: Float[Tensor, "b c *s"],
    activation: Activation = "none",
    add: Float[Tensor, "*b c"] | None = None,
) -> Float[Tensor, "b c *s"]:
    """activation(norm(x + add)). add: one number per channel, or per channel and picture."""
    if normalisable(x, norm, add):
        tokens = x.movedim(1, -1)
        done = _kernels().group_norm(
            tokens.flatten(1, -2), norm.num_groups, norm.weight, norm.bias, norm.eps, activation, add
        )
        return done.view_as(tokens).movedim(-1, 1)
    if add is not None:
        x = x + add.reshape(*add.shape, *(1,) * (x.ndim - 2))
    return _PLAIN[activation](norm(x))


def group_norm_of_both(
    norm: nn.GroupNorm,
    x: Float[Tensor, "b c1 *s"],
    beside: Float[Tensor, "b c2 *s"],
    activation: Activation = "none",
) -> Float[Tensor, "b c *s"]:
    """activation(norm(channels of both)), which need not be put together for it."""
    if not (usable(x) and is_channels_last(x) and is_channels_last(beside)):
        return group_norm(norm, torch.cat([x, beside], 1), activation)
    shape, parts = x.movedim(1, -1).shape[:-1], (y.movedim(1, -1).flatten(1, -2) for y in (x, beside))
    done = _kernels().group_norm_of_both(
        *parts, norm.num_groups, norm.weight, norm.bias, norm.eps, activation
    )
    return done.view(*shape, -1).movedim(-1, 1)


def without_bias(conv: nn.Module, x: Float[Tensor, "b i *s"]) -> Float[Tensor, "b o *s2"]:
    """A convolution whose bias is added later, together with something else."""
    c: Any = conv
    if isinstance(conv, nn.ConvTranspose3d):
        return F.conv_transpose3d(x, c.weight, None, c.stride, c.padding, c.output_padding)
    return (F.conv3d if isinstance(conv, nn.Conv3d) else F.conv2d)(x, c.weight, None, c.stride, c.padding)


def convolved(conv: nn.Module, x: Float[Tensor, "b i *s"]) -> Float[Tensor, "b o *s2"]:
    """A convolution and its bias."""
    if not (usable(x) and is_channels_last(x)):
        return conv(x)
    out = without_bias(conv, x)
    if is_channels_last(out):
        _kernels().add_bias(out.movedim(1, -1), conv.bias)
        return out
    return out + conv.bias.reshape(-1, *(1,) * (x.ndim - 2))  # type: ignore[operator, union-attr]


def addable(x: Tensor, bias: Tensor) -> bool:
    """Availability of fused `plus` for this input: a gradient goes through the sum, but not to the bias."""
    learnt = torch.is_grad_enabled() and bias.requires_grad
    return not learnt and _is_supported(x) and is_channels_last(x)


def plus(
    x: Float[Tensor, "b c *s"], y: Float[Tensor, "b c *s"], bias: Float[Tensor, "*b c"]
) -> Float[Tensor, "b c *s"]:
    """x + y + bias, which is one for all pictures or one each."""
    if addable(x, bias) and is_channels_last(y):
        return _kernels().plus(x.movedim(1, -1), y.movedim(1, -1), bias).movedim(-1, 1)
    return x + (y + bias.reshape(*bias.shape, *(1,) * (x.ndim - 2)))


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Each pixel four times, twice as high and wide."""
    if usable(x) and is_channels_last(x):
        return _kernels().doubled(x.movedim(1, -1)).movedim(-1, 1)
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def layer_norm(
    norm: nn.LayerNorm, x: Float[Tensor, "b n c"], add: Float[Tensor, "b c"] | None = None
) -> Float[Tensor, "b n c"]:
    """norm(x + add). add: one number per channel and picture."""
    if usable(x) and x.is_contiguous():
        return _kernels().layer_norm(x, norm.weight, norm.bias, norm.eps, add)
    return norm(x if add is None else x + add[:, None])


def geglu(x: Float[Tensor, "*b d2"]) -> Float[Tensor, "*b d"]:
    """The first half of the last axis times the GELU of the second (2002.05202)."""
    if usable(x) and x.is_contiguous():
        return _kernels().geglu(x)
    value, gate = x.chunk(2, dim=-1)
    return value * F.gelu(gate)


def along_rays(
    query: Float[Tensor, "*p n k"], rays: Float[Tensor, "*p d k"], scale: float
) -> Float[Tensor, "*p n k"]:
    """Attention of n queries to the d features along their pixel's ray, which are keys and values in one."""
    if usable(query) and query.is_contiguous() and rays.is_contiguous():
        return _kernels().along_rays(query, rays, scale)
    return (query @ rays.transpose(-1, -2) * scale).softmax(-1) @ rays


def sample_volume(
    volume: Float[Tensor, "t c s s s"],
    frame: Int[Tensor, " b"],
    grid: Float[Tensor, "n d h w 3"],
    place: Int[Tensor, " b"],
) -> Float[Tensor, "b c d h w"]:
    """Volumes of some frames, linearly interpolated at the points of some places; zero outside.

    frame, place: of each result. grid: x, y, z as `grid_sample` takes them with align_corners, in float32,
    because half precision misplaces samples.
    """
    if usable(volume) and grid.is_contiguous():
        rows = volume.movedim(1, -1).contiguous()
        return _kernels().sample_volume(rows, frame, grid, place).movedim(-1, 1)
    values = F.grid_sample(volume[frame].float(), grid[place], padding_mode="zeros", align_corners=True)
    return values.to(volume.dtype)


def _kernels() -> Any:
    from vid4d.priors.layers import fused_kernels

    return fused_kernels
