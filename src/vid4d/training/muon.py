"""Muon: momentum whose update is made orthogonal, for the matrices and kernels inside a network.

Every matrix moves by the same amount in all its directions, the rarely used ones too, which trains large
shares of a network in fewer steps than Adam does. Vectors, first and last layers stay with Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: singular values in (0, 1] end between about 0.7 and 1.2 after five rounds."""


def orthogonalised(
    matrices: Float[Tensor, "n r c"], rounds: int = 5, dtype: torch.dtype = torch.bfloat16
) -> Float[Tensor, "n r c"]:
    """Nearly the closest (semi-)orthogonal matrices, by a Newton-Schulz iteration (2502.16982, 2.1)."""
    a, b, c = COEFFICIENTS
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        inner = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, inner, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def split_for_muon(model: nn.Module, outer: Iterable[str] = ()) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable parameters for Muon (weights of linear layers and convolutions) and for Adam (the rest).

    outer: ends of the names of layers that see data or make predictions; those go to Adam.
    """
    ends = tuple(outer)
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    inner = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, layers) and not name.endswith(ends or ("\0",))
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [p for p in parameters if id(p) in inner], [p for p in parameters if id(p) not in inner]


class Muon(torch.optim.Optimizer):
    """Muon with its steps scaled to the size of Adam's, so that both share a learning rate (2502.16982).

    Weights of more than two dimensions count as matrices (outputs, everything else). Equal shapes are made
    orthogonal together.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        rounds: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "rounds": rounds}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        for group in self.param_groups:
            chosen = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in chosen]
            for p in chosen:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum"] for p in chosen]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
            if group["weight_decay"]:
                torch._foreach_mul_(chosen, 1 - group["lr"] * group["weight_decay"])
            shapes: dict[tuple[int, ...], list[int]] = {}
            for i, p in enumerate(chosen):
                shapes.setdefault(tuple(p.shape), []).append(i)
            for shape, members in shapes.items():
                stack = torch.stack([ahead[i].flatten(1) for i in members])
                scale = 0.2 * max(stack.shape[1:]) ** 0.5
                moved = orthogonalised(stack, group["rounds"]) * (-group["lr"] * scale)
                torch._foreach_add_([chosen[i] for i in members], list(moved.unflatten(2, shape[1:])))
