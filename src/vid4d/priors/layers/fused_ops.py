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
from jaxtyping import Float
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


def without_bias(conv: nn.Conv2d, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
    """A convolution whose bias is added later, together with something else."""
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)  # type: ignore[arg-type]


def addable(x: Tensor, bias: Tensor) -> bool:
    """Availability of fused `plus` for this input: a gradient goes through the sum, but not to the bias."""
    learnt = torch.is_grad_enabled() and bias.requires_grad
    return not learnt and _is_supported(x) and is_channels_last(x)


def plus(
    x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], bias: Float[Tensor, " c"]
) -> Float[Tensor, "b c h w"]:
    """x + y + bias."""
    if addable(x, bias) and is_channels_last(y):
        return _kernels().plus(x.movedim(1, -1), y.movedim(1, -1), bias).movedim(-1, 1)
    return x + (y + bias[:, None, None])


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


def _kernels() -> Any:
    from vid4d.priors.layers import fused_kernels

    return fused_kernels
