"""Density control for some thousands of splats: splits where the pictures ask for detail, removes what is
unseen.

3D Gaussian splatting (2308.04079, section 5.2) splits whatever exceeds a gradient threshold and resets
opacities now and then, which suits 30,000 iterations and millions of splats. A fit of some hundred
iterations that starts on the hull does better with a fixed plan: in every round the splats with the largest
screen-space gradients are split, as many as bring the count to the planned one, and transparent ones make
room. There is no opacity reset.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.adam import SplatAdam
from vid4d.gaussians.model import rotation4d
from vid4d.gaussians.raster import SplatRender


@dataclass(frozen=True)
class DensifyConfig:
    """Schedule of density control: when splats are split and removed.

    growth: final number of splats over the first one.
    max_splats: hard cap on their number.
    n_densify: rounds of densification.
    begin, end: share of the fit in which the rounds are spread.
    prune_opacity: opacity below which a splat is removed.
    prune_scale: longest extent (standard deviation, world units) before a splat is removed.
    shrink: extent of a half along the split axis over that of the whole.
    """

    growth: float = 1.6
    max_splats: int = 60000
    n_densify: int = 6
    begin: float = 0.1
    end: float = 0.6
    prune_opacity: float = 0.02
    prune_scale: float = 0.15
    shrink: float = 0.6

    def __post_init__(self) -> None:
        if self.growth < 1 or self.max_splats < 1 or self.n_densify < 0:
            raise ValueError("splats grow 1 times or more, to 1 or more, in 0 rounds or more")
        if not 0 <= self.begin <= self.end <= 1:
            raise ValueError(
                "rounds of densification begin and end at shares of the fit: 0 to 1, in this order"
            )
        if not 0 <= self.prune_opacity < 1 or self.prune_scale <= 0 or self.shrink <= 0:
            raise ValueError("prune_opacity is 0 or more and below 1, prune_scale and shrink are more than 0")


class Densifier:
    """Density control between steps: collects screen-space gradients, prunes and splits an optimiser's rows.

    gradient: the sum of a splat's screen-space gradients since the last round. n_visible: pictures with it.
    """

    def __init__(
        self, config: DensifyConfig, count: int, *, frame_spacing: float, device: torch.device
    ) -> None:
        self.config = config
        self.frame_spacing = frame_spacing
        self.first = count
        self.gradient = torch.zeros(count, device=device)
        self.n_visible = torch.zeros(count, device=device)
        self.done = 0

    def collect(self, render: SplatRender, complete: Bool[Tensor, ""] | None = None) -> None:
        """Adds the gradients of one step; call after backward.

        complete: whether the step counts, on the device; it does where not given.
        """
        count = len(self.gradient)  # splats that stay as they are come after these
        gradient, n_visible = render.screen_gradients().sum(0)[:count], render.visible.sum(0)[:count]
        if complete is not None:
            gradient, n_visible = gradient * complete, n_visible * complete
        self.gradient += gradient
        self.n_visible += n_visible

    def due(self, progress: float) -> bool:
        """True when the next round of density control is due. progress: share of the fit, 0 to 1."""
        c = self.config
        if self.done >= c.n_densify or progress < c.begin:
            return False
        return progress >= c.begin + (c.end - c.begin) * self.done / max(1, c.n_densify - 1)

    def densify(self, optimizer: SplatAdam) -> None:
        """Removes, then splits up to the planned number of splats."""
        c = self.config
        self.done += 1
        parameters = optimizer.parameters
        keep = (parameters["opacity_logits"].detach().sigmoid() >= c.prune_opacity) & (
            parameters["log_scales"].detach()[:, :3].amax(-1).exp() <= c.prune_scale
        )
        if keep.any():
            optimizer.select(keep)
            self.gradient, self.n_visible = self.gradient[keep], self.n_visible[keep]
        planned = int(self.first * (1 + (c.growth - 1) * self.done / c.n_densify))
        room = min(planned, c.max_splats) - len(optimizer)
        score = self.gradient / self.n_visible.clamp(min=1)
        room = min(room, int((score > 0).sum()))
        if room > 0:
            chosen = score.topk(room).indices.sort().values
            self._split(optimizer, chosen)
        self.gradient = torch.zeros(len(optimizer), device=self.gradient.device)
        self.n_visible = torch.zeros_like(self.gradient)

    @torch.no_grad()
    def _split(self, optimizer: SplatAdam, rows: Tensor) -> None:
        """Each splat becomes two, side by side along its longest axis, with the opacity of one where they
        overlap.

        Time counts as an axis once a splat lasts longer than two frames.
        """
        parameters = optimizer.parameters
        scales = parameters["log_scales"][rows].exp()
        typical = parameters["log_scales"][:, :3].amax(-1).exp().median()
        length = scales / torch.stack([typical] * 3 + [typical.new_tensor(0.8 * self.frame_spacing)])
        axis = length.argmax(-1)
        rotation = rotation4d(parameters["quats_left"][rows], parameters["quats_right"][rows])
        row = torch.arange(len(rows), device=rows.device)
        offset = rotation[row, :, axis] * scales[row, axis, None] * 0.7
        log_scales = parameters["log_scales"][rows].clone()
        log_scales[row, axis] += torch.tensor(self.config.shrink).log()
        new = {name: value[rows].clone() for name, value in parameters.items()}
        new["log_scales"] = log_scales
        new["means"] = parameters["means"][rows] + offset
        parameters["log_scales"][rows] = log_scales
        parameters["means"][rows] -= offset
        optimizer.forget(rows)
        optimizer.append(new)

    def state(self) -> dict[str, Float[Tensor, "..."]]:
        """Statistics and counters, for a checkpoint."""
        done = torch.tensor([self.done, self.first])
        return {"gradient": self.gradient, "n_visible": self.n_visible, "done": done}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restores the sums and counts of a checkpoint's `state`."""
        self.gradient, self.n_visible = state["gradient"].clone(), state["n_visible"].clone()
        self.done, self.first = (int(x) for x in state["done"])
