"""Adam over splats: rows that no camera saw are left alone, and rows can be added, removed and reset."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.kernels import available


class SplatAdam:
    """Adam (1412.6980) whose state follows the splats, with a step count per splat.

    A splat that was not visible in a step keeps its moments (Taming 3DGS, 2406.15643: otherwise momentum
    moves what no picture can correct).
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
    ) -> None:
        self.parameters = {k: v.detach().clone().requires_grad_() for k, v in parameters.items()}
        self.betas, self.eps = betas, eps
        self.mean = {k: torch.zeros_like(v) for k, v in parameters.items()}
        self.square = {k: torch.zeros_like(v) for k, v in parameters.items()}
        first = next(iter(self.parameters.values()))
        self.steps: Int[Tensor, " n"] = torch.zeros(len(first), dtype=torch.int64, device=first.device)

    def __len__(self) -> int:
        return len(self.steps)

    @torch.no_grad()
    def step(self, rates: Mapping[str, float | Float[Tensor, "..."]], visible: Bool[Tensor, " n"]) -> None:
        """One update from the gradients, which it clears; a rate may be a tensor, as a row is."""
        if available(visible):
            self._step_by_kernels(rates, visible)
            return
        if self._in_c():
            self._step_in_c(rates, visible)
            return
        rows = visible.nonzero()[:, 0]
        self.steps[rows] += 1
        count = self.steps[rows].to(torch.float32)
        fix_mean, fix_square = 1 - self.betas[0] ** count, 1 - self.betas[1] ** count
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            gradient = parameter.grad[rows]
            shape = (-1,) + (1,) * (gradient.ndim - 1)
            mean = self.mean[name][rows].lerp_(gradient, 1 - self.betas[0])
            square = self.square[name][rows].lerp_(gradient * gradient, 1 - self.betas[1])
            self.mean[name][rows], self.square[name][rows] = mean, square
            update = (mean / fix_mean.view(shape)) / ((square / fix_square.view(shape)).sqrt() + self.eps)
            parameter[rows] -= update * rates[name]
            parameter.grad = None

    def _in_c(self) -> bool:
        """Whether the C kernel serves: it is there, and parameters are as it reads them."""
        from vid4d.gaussians.raster import cpu

        plain = all(
            p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous()
            for p in self.parameters.values()
        )
        return plain and not cpu.obstacle()

    def _step_in_c(
        self, rates: Mapping[str, float | Float[Tensor, "..."]], visible: Bool[Tensor, " n"]
    ) -> None:
        """The same without copies of the rows."""
        from vid4d.gaussians.raster.cpu import adam

        self.steps += visible
        count = self.steps.to(torch.float32)
        fixes = 1 - self.betas[0] ** count, 1 - self.betas[1] ** count
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            state = (self.mean[name], self.square[name], fixes, visible)
            adam(parameter, parameter.grad, *state, rates[name], self.betas, self.eps)
            parameter.grad = None

    def _step_by_kernels(
        self, rates: Mapping[str, float | Float[Tensor, "..."]], visible: Bool[Tensor, " n"]
    ) -> None:
        """The same without waiting for the device, which a list of rows would need."""
        from vid4d.gaussians.adam_kernels import adam

        self.steps += visible
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            state = (self.mean[name], self.square[name], self.steps, visible)
            adam(parameter, parameter.grad, *state, rates[name], self.betas, self.eps)
            parameter.grad = None

    @torch.no_grad()
    def select(self, rows: Tensor) -> None:
        """Keeps the rows of a mask or list of indices, with their state."""
        for store in (self.parameters, self.mean, self.square):
            for name in store:
                store[name] = store[name].detach()[rows].contiguous()
        self.steps = self.steps[rows]
        self._restart()

    @torch.no_grad()
    def append(self, new: Mapping[str, Tensor]) -> None:
        """Adds splats, without momentum."""
        count = len(next(iter(new.values())))
        for name, value in new.items():
            self.parameters[name] = torch.cat([self.parameters[name].detach(), value.detach()])
            for store in (self.mean, self.square):
                store[name] = torch.cat([store[name], torch.zeros_like(value)])
        self.steps = torch.cat([self.steps, self.steps.new_zeros(count)])
        self._restart()

    @torch.no_grad()
    def forget(self, rows: Tensor) -> None:
        """Clears the momentum of some rows, after their parameters were set by hand."""
        for store in (self.mean, self.square):
            for name in store:
                store[name][rows] = 0
        self.steps[rows] = 0

    def state(self) -> dict[str, Tensor]:
        """Parameters, both moments and step counts, for a checkpoint."""
        out = {f"parameter.{k}": v.detach() for k, v in self.parameters.items()}
        out |= {f"mean.{k}": v for k, v in self.mean.items()}
        out |= {f"square.{k}": v for k, v in self.square.items()}
        return out | {"steps": self.steps}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Sets all tensors to those of a `state`."""
        for name in self.parameters:
            self.parameters[name] = state[f"parameter.{name}"].clone()
            self.mean[name] = state[f"mean.{name}"].clone()
            self.square[name] = state[f"square.{name}"].clone()
        self.steps = state["steps"].clone()
        self._restart()

    def _restart(self) -> None:
        for parameter in self.parameters.values():
            parameter.requires_grad_()
            parameter.grad = None
