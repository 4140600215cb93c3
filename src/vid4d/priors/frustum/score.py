"""The frustum volume as the score of renders, for distillation into a field (Consistent4D, 2311.02848).

A diffusion prior answers a noisy render with what it takes for the picture behind the noise. This one has
made up its mind before: the picture is that of the frame's solid, seen by the render's camera. Its score
then leads every render to one and the same thing, whatever the noise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.priors.frustum.drawing import draw_solids
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.matter import BIAS
from vid4d.priors.frustum.network import FrustumVolume, Solid
from vid4d.priors.frustum.prior import CONTRAST, load_frustum_volume
from vid4d.priors.frustum.rendering import render_solid
from vid4d.priors.pictures import to_network
from vid4d.priors.samplers import NoiseSchedule, to_eps
from vid4d.priors.score import LatentScorePrior, resized_render


class FrustumScorePrior(LatentScorePrior):
    """Solids of a clip's frames, each made when it is first asked for.

    Each frame stands for itself, as in Consistent4D, where the field joins them. Latents are pixels: colors
    over white and alpha in [-1, 1].

    frames: of the clip, straight-alpha RGBA in [0, 1], square. elevation: of their camera, degrees.
    keep: how many frames' solids are held at a time (5 MB each).
    """

    def __init__(
        self,
        network: FrustumVolume,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        *,
        keep: int = 64,
    ) -> None:
        self.network, self.keep = network.eval(), keep
        self.size = network.config.image_size
        self.device = next(network.parameters()).device
        self.schedule = NoiseSchedule.shifted_cosine().to(self.device)
        self._framing, self._pictures = network_pictures(frames.to(self.device), network.config)
        self._camera = Cameras.orbit([0.0], elevation, size=self.size, device=self.device)
        self._solids: dict[int, Solid] = {}

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        """RGBA renders in [-1, 1] at the prior's size, with a gradient."""
        return resized_render(color, alpha, self.size) * 2 - 1

    @torch.no_grad()
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> Float[Tensor, "b 4 h w"]:
        """Pictures of the frames' solids from the cameras, as `encode` gives them."""
        pictures = torch.empty(len(frame), 4, self.size, self.size, device=self.device)
        for index in frame.unique().tolist():
            views = (frame == index).nonzero()[:, 0]
            drawn = render_solid(
                self._solid(index),
                self._camera,
                cameras[views.to(cameras.focal.device)].to(self.device),
                self.network.config,
                framing=self._framing[index : index + 1],
                size=self.size,
                bias=BIAS,
                contrast=CONTRAST,
            )
            pictures[views.to(self.device)] = to_network(drawn[0])
        return pictures

    def predict(
        self, noisy: Float[Tensor, "l b c h w"], t: Int[Tensor, " b"], view: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "l b c h w"]:
        """The noise that is left when the solids' pictures are taken away."""
        return torch.stack([to_eps(self.schedule, x, t, view, "x0") for x in noisy])

    def _solid(self, index: int) -> Solid:
        solid = self._solids.pop(index, None)
        if solid is None:
            solid = draw_solids(
                self.network, self._pictures[index : index + 1], torch.deg2rad(self._camera.elevation)
            )
            solid = Solid(solid.logits.half(), solid.color.half(), solid.elevation)
        self._solids[index] = solid  # the newest last
        while len(self._solids) > self.keep:
            del self._solids[next(iter(self._solids))]
        return solid


def load_score_prior(
    name: str,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    device: torch.device | str = "cpu",
    *,
    guidance: float | None = None,
) -> FrustumScorePrior:
    """As `priors.base.load_score_prior`. Raises InputError for a guidance: there is nothing to guide."""
    if guidance is not None:
        raise InputError(f"{name} knows no guidance: leave it out")
    return FrustumScorePrior(load_frustum_volume(device), frames, elevation)
