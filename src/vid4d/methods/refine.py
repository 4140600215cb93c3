"""Refinement of fitted Gaussians by a prior's score, as Efficient4D's light SDS, and by consistency.

The fit saw a ring of drawn pictures. Here it goes on from its splats, under the same losses and two more, of
renders from anywhere around the object (2401.08742, section 3.3):

    score distillation            what a prior objects to in them            (2209.14988)
    interpolation consistency     of views in a row, around or in time       (2311.02848, section 3.3)

Beyond the papers: a surface that the clip itself shows is left alone by the score, but for a small share.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.clip.files import load_frames
from vid4d.compute.randomness import step_generator
from vid4d.files.checkpoints import identity_of
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import SplatRender, rasterize_4d
from vid4d.gaussians.visibility import visible_from
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods import stages
from vid4d.methods.consistent4d.batches import BatchConfig, draw_batch
from vid4d.metrics.losses import Interpolate, interpolation_consistency
from vid4d.priors.base import ScorePrior, load_score_prior
from vid4d.priors.interpolators import as_interpolator, finds_middles_only, load_interpolator
from vid4d.priors.sds import distillation_loss
from vid4d.runs.run import Run


@dataclass(frozen=True)
class RefineConfig:
    """Settings of a refinement. Weights are against 1 for the photometric loss of the fit.

    steps: of the refinement. every: so many steps have one with a loss on renders from anywhere.
    lr: learning rates at the start, as a share of the fit's; they fall as there.
    size: of these renders in pixels. batch: renders at a time.
    views: which they are. noise_range: lowest and highest noise level, as shares of the prior's schedule.
    sds_weight: of score distillation, over the pixels of a render. icl_weight: of the interpolation
    consistency, a mean squared error.
    observed_weight: share of the score's gradient that colors get where the clip shows the surface.
    guidance: scale of classifier-free guidance; the prior's own where None.
    """

    steps: int = 400
    every: int = 2
    lr: float = 0.3
    size: int = 128
    batch: int = 4
    views: BatchConfig = field(default_factory=BatchConfig)
    noise_range: tuple[float, float] = (0.02, 0.5)
    sds_weight: float = 3.0
    icl_weight: float = 50.0
    observed_weight: float = 0.15
    guidance: float | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.every, self.batch) < 1 or self.size < 8:
            raise ValueError("a refinement's steps and renders are 1 or more, its renders 8 pixels wide")
        if not 0 <= self.noise_range[0] <= self.noise_range[1] <= 1:
            raise ValueError("noise levels are shares of the schedule: 0 to 1, the lower one first")
        if min(self.lr, self.sds_weight, self.icl_weight, self.observed_weight) < 0:
            raise ValueError("a refinement's learning rate and weights are 0 or more")


class PriorGuide:
    """A `gaussians.fit.Guide`: score distillation and interpolation consistency of renders.

    prior: of the clip. between: what the consistency expects. times: of the clip's frames that the prior
    knows. camera: the clip's, of any size. device: of the prior. identity: hash of prior and clip.
    """

    def __init__(
        self,
        config: RefineConfig,
        prior: ScorePrior,
        between: Interpolate,
        times: Float[Tensor, " t"],
        camera: Cameras,
        *,
        middle_only: bool = False,
        cyclic: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        identity: str = "",
    ) -> None:
        self.config, self.prior, self.between, self.times = config, prior, between, times
        self.camera, self.middle_only = camera.resized(config.size), middle_only
        self.cyclic, self.seed, self.device = cyclic, seed, torch.device(device)
        self.identity = identity_of([asdict(config), seed, cyclic, middle_only, identity], times)

    def __call__(
        self, gaussians: Gaussians4D, step: int
    ) -> tuple[Float[Tensor, ""], Bool[Tensor, " n"]] | None:
        """As `gaussians.fit.Guide`. The views of a step follow from the seed and its number."""
        c = self.config
        if step % c.every != c.every - 1:
            return None
        device, count = gaussians.means.device, len(self.times)
        batch = draw_batch(c.views, self.seed, step, batch=c.batch, frames=count, cyclic=self.cyclic)
        cameras, times = batch.cameras(c.size, device), self.times.to(device)[batch.frame.to(device)]
        render = rasterize_4d(gaussians, times, cameras, background=0.0)
        loss = render.color.new_zeros(())
        if c.sds_weight > 0:
            color = (render.color + 1 - render.alpha[..., None]).clamp(0, 1)
            color = color.detach().lerp(color, self._color_weight(gaussians, times, cameras, render))
            sds = distillation_loss(
                self.prior,
                color[None].to(self.device),
                render.alpha[None].to(self.device),
                cameras,
                batch.frame,
                c.noise_range,
                step_generator(self.seed, step, purpose=4),
            )
            loss = loss + c.sds_weight / c.size**2 * sds.to(device)
        if c.icl_weight > 0 and batch.is_consecutive:
            views = torch.cat([render.color, render.alpha[..., None]], -1)
            icl = interpolation_consistency(views, self.between, middle_only=self.middle_only)
            loss = loss + c.icl_weight * icl
        return loss, render.visible.any(0)

    @torch.no_grad()
    def _color_weight(
        self, gaussians: Gaussians4D, times: Float[Tensor, " b"], cameras: Cameras, render: SplatRender
    ) -> Float[Tensor, "b h w 1"]:
        """1 where only the prior knows the surface, `observed_weight` where the clip shows it."""
        weight = torch.ones_like(render.alpha)
        for time in times.unique():
            own = rasterize_4d(gaussians, time[None], self.camera.to(time.device))
            here = (times == time).nonzero()[:, 0]
            seen = visible_from(self.camera.to(time.device), own, cameras[here], _some(render, here))
            weight[here] = torch.where(seen, self.config.observed_weight, 1.0)
        return weight[..., None]


def _some(render: SplatRender, rows: Int[Tensor, " k"]) -> SplatRender:
    """Some of the pictures of a render."""
    return SplatRender(
        render.color[rows], render.alpha[rows], render.depth[rows], render.means2d[rows], render.radii[rows]
    )


def refine_config(fit: FitConfig, config: RefineConfig) -> FitConfig:
    """The fit's configuration as it goes on: fewer steps at lower rates, and no splats more or less."""
    rates = ("position_lr", "time_lr", "scale_lr", "rotation_lr", "opacity_lr", "color_lr")
    slower = {name: getattr(fit, name) * config.lr for name in rates}
    still = replace(fit.densify, n_densify=0)
    return replace(fit, iterations=config.steps, densify=still, visibility_updates=(0.0,), **slower)


def prior_guide(
    frames: Float[Tensor, "t h w 4"],
    times: Float[Tensor, " t"],
    matrix: ImageMatrix,
    config: RefineConfig,
    *,
    prior: str,
    interpolator: str = "small",
    seed: int = 0,
    device: torch.device | str = "cpu",
    devices: int = 1,
) -> PriorGuide:
    """The guide by the prior and the interpolator of these names.

    frames, times: that the prior is told of the matrix's clip, whose camera the matrix knows.
    """
    if matrix.input_camera is None:
        raise ValueError("the image matrix knows no clip: there is nothing to tell a prior")
    network = load_interpolator(interpolator, device)
    return PriorGuide(
        config,
        load_score_prior(prior, frames, matrix.elevation, device, guidance=config.guidance, devices=devices),
        as_interpolator(network),
        times,
        matrix.input_camera,
        middle_only=finds_middles_only(network),
        cyclic=matrix.cyclic,
        seed=seed,
        device=device,
        identity=identity_of([prior, interpolator, matrix.elevation], frames),
    )


def refined(
    run: Run, fitted: Gaussians4D, matrix: ImageMatrix, fit: FitConfig, config: RefineConfig
) -> Gaussians4D:
    """Stage `refine`: the splats of a run's fit, refined. Writes asset.safetensors."""

    def guide() -> PriorGuide:
        clip, settings = load_frames(run.path("frames")).at_keys(), run.settings
        return prior_guide(
            torch.from_numpy(clip.frames),
            torch.from_numpy(clip.times).float(),
            matrix,
            config,
            prior=settings.prior,
            interpolator=settings.interpolator,
            seed=settings.seed,
            device=run.device,
            devices=settings.devices,
        )

    return stages.fit_asset(
        run, matrix, refine_config(fit, config), stage="refine", start=fitted, guide=guide
    )
