"""The small prior as methods see it: what draws a matrix, and what scores renders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.matrix.cleanup import smooth_alpha
from vid4d.media.images import resized
from vid4d.priors.base import DrawnViews, DrawRequest
from vid4d.priors.guidance import Decomposed
from vid4d.priors.pictures import to_network
from vid4d.priors.samplers import to_eps
from vid4d.priors.score import LatentScorePrior, resized_render
from vid4d.priors.small.model import SmallCondition, SmallPrior, ViewFeatures
from vid4d.priors.small.sampling import SampleConfig, load_small_prior, sample_small_prior

PRESETS = {
    "draft": SampleConfig(steps=5),
    "standard": SampleConfig(),
    "high": SampleConfig(steps=25, guidance=Decomposed(1.0, 0.5)),
}
"""Sampling options of a run's presets."""

OUTLINE_WIDTH = 2.0
"""Pixels over which its frayed outlines are straightened."""

SCORE_GUIDANCE = 1.0
"""Scale of classifier-free guidance of its score, which is one of pixels: a scale of 5 burns colors out."""


class SmallMatrixPrior:
    """The small prior with all its parts: 16 views, all frames together."""

    def __init__(self, network: SmallPrior) -> None:
        self.network = network
        self.image_size = network.config.lift.image_size

    def draw(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> DrawnViews:
        """As `MatrixPrior.draw`; outlines are straightened."""
        config = sample_config(request)
        views = sample_small_prior(
            self.network, frames, elevation, config, cyclic=cyclic, generator=generator, progress=progress
        )
        return DrawnViews(smooth_alpha(views.cpu(), OUTLINE_WIDTH), self.network.ring("cpu"))


def sample_config(request: DrawRequest) -> SampleConfig:
    """Sampling options of a request; another sampler than the preset's draws without fresh noise."""
    config = PRESETS[request.preset]
    if request.sampler not in ("auto", config.sampler):
        config = replace(config, sampler=request.sampler, eta=0.0)
    return replace(config, steps=request.steps or config.steps)


class SmallScorePrior(LatentScorePrior):
    """The small prior with its noisy views left out: one target view from one picture (a small Zero123).

    guidance: scale; 1 leaves out the unconditional evaluation. keep: how many frames' lifted volumes are held
    at a time (3 MB each).
    """

    def __init__(self, prior: SmallPrior, *, guidance: float = SCORE_GUIDANCE, keep: int = 64) -> None:
        self.prior, self.guidance, self.keep = prior, guidance, keep
        self.size = prior.config.lift.image_size
        self.schedule = prior.schedule.to(next(prior.parameters()).device)
        self._pictures: Tensor | None = None
        self._conditions: dict[int, SmallCondition] = {}

    def condition(self, frames: Float[Tensor, "t h w 4"], elevation: float) -> None:
        """Input frames in straight-alpha RGBA and their camera's elevation in degrees, kept for `view`."""
        parameter = next(self.prior.parameters())
        self._pictures = to_network(resized(frames, self.size)).to(parameter)
        self._camera = Cameras.orbit([0.0], elevation, size=self.size, device=parameter.device)
        self._conditions = {}

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        """Pixel-unshuffled RGBA renders in [-1, 1], with a gradient."""
        return self.prior.encode(resized_render(color, alpha, self.size) * 2 - 1)

    @torch.no_grad()
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> tuple[SmallCondition, ViewFeatures]:
        """Conditions of the frames, and their lifted volumes rendered from the cameras."""
        condition = self._condition_of(frame.tolist())
        return condition, self.prior.render_features(condition, cameras.resized(self.size), 1)

    @torch.no_grad()
    def predict(
        self,
        noisy: Float[Tensor, "l b c p p"],
        t: Int[Tensor, " b"],
        view: tuple[SmallCondition, ViewFeatures],
    ) -> Float[Tensor, "l b c p p"]:
        """Noise prediction without noisy views, with classifier-free guidance."""
        condition, features = view
        levels = len(noisy)
        x, features = noisy.transpose(0, 1), _repeated(features, levels)
        off = torch.zeros(len(t), device=t.device)
        data = self.prior.denoise(condition, features, None, x, t).float()
        if self.guidance != 1:
            unconditional = self.prior.denoise(
                condition, features, None, x, t, image_on=off, volume_on=off
            ).float()
            data = unconditional + self.guidance * (data - unconditional)
        return to_eps(self.schedule, x.float(), t, data, "x0").transpose(0, 1)

    def _condition_of(self, frames: Sequence[int]) -> SmallCondition:
        if self._pictures is None:
            raise RuntimeError("condition(...) comes first: the prior has seen no picture yet")
        for i in frames:
            if i in self._conditions:
                self._conditions[i] = self._conditions.pop(i)  # the newest last
                continue
            self._conditions[i] = self.prior.condition(self._pictures[i : i + 1], self._camera)
        parts = [self._conditions[i] for i in frames]
        while len(self._conditions) > self.keep:
            del self._conditions[next(iter(self._conditions))]
        return SmallCondition(
            torch.cat([p.volume for p in parts]),
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.latent for p in parts]),
            Cameras.cat([p.cameras for p in parts]),
        )


def _repeated(features: ViewFeatures, levels: int) -> ViewFeatures:
    """One view per frame -> the same view once per level, frames outermost."""
    if levels == 1:
        return features
    assert features.frustum is not None
    return replace(
        features,
        frustum=features.frustum.repeat_interleave(levels, 2),
        weight=features.weight.repeat_interleave(levels, 1),
        ray_features=features.ray_features.repeat_interleave(levels, 0),
        coarse=features.coarse.repeat_interleave(levels, 0),
        cameras=features.cameras[torch.arange(len(features.cameras)).repeat_interleave(levels)],
    )


def load_matrix_prior(name: str, device: torch.device | str = "cpu") -> SmallMatrixPrior:
    """The prior that ships with the package, to draw an image matrix."""
    return SmallMatrixPrior(load_small_prior(device))


def load_score_prior(
    name: str,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    device: torch.device | str = "cpu",
    *,
    guidance: float | None = None,
) -> SmallScorePrior:
    """The shipped prior, conditioned on an object; arguments as `base.load_score_prior`."""
    prior = SmallScorePrior(
        load_small_prior(device), guidance=SCORE_GUIDANCE if guidance is None else guidance
    )
    prior.condition(frames, elevation)
    return prior
