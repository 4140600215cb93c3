"""Settings of the fit of 4D Gaussians to an image matrix, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from vid4d.gaussians.densify import DensifyConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.gaussians.sh import MAX_DEGREE


@dataclass(frozen=True)
class FitConfig:
    """Settings of the optimization.

    iterations: steps.
    seconds: wall-clock budget; the schedules follow whichever is nearer to its end, so a run that has to be
        reproducible leaves it None.
    batch: pictures a step.
    size: pixels; wider pictures are reduced to it.
    sh_degree: 0 is color equal from all sides.
    *_lr: learning rates at the start (world units, clip time, logarithms), several times those of 2310.10642
        for fifty times fewer steps.
    max_elongation, max_flatness: of splats, see `bound_shape`.
    final_lr_ratio: of the learning rates at the end, which fall exponentially, over those at the start.
    ssim_weight: share of 1 - SSIM in the photometric loss, the rest is L1.
    ssim_every: SSIM is the dear part, so only every so many steps have it, with as many times the weight.
    mask_weight: of the mask loss.
    interpolation_every, interpolation_weight: every so many steps a time between two frames joins, with this
        weight against 1 for the batch.
    input_every, input_weight: the same for a frame of the input video.
    observed_color_weight: of the matrix's colors where the input video shows the same surface; 1 is the
        paper's.
    visibility_updates: shares of the schedule at which it is looked up which surfaces these are.
    checkpoint_every, report_every: steps; five times as many where they are recorded, on a graphics card.
    """

    iterations: int = 500
    seconds: float | None = None
    batch: int = 4
    size: int = 256
    hull: HullConfig = field(default_factory=HullConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    sh_degree: int = 0
    position_lr: float = 2e-3
    time_lr: float = 2e-3
    scale_lr: float = 8e-2
    rotation_lr: float = 6e-2
    opacity_lr: float = 1e-1
    color_lr: float = 2e-2
    max_elongation: float = 2.5
    max_flatness: float = 5.0
    final_lr_ratio: float = 0.1
    ssim_weight: float = 0.2
    ssim_every: int = 2
    mask_weight: float = 0.5
    interpolation_every: int = 2
    interpolation_weight: float = 0.2
    input_every: int = 1
    input_weight: float = 2.0
    observed_color_weight: float = 0.15
    visibility_updates: tuple[float, ...] = (0.0, 0.3, 0.6)
    checkpoint_every: int = 50
    report_every: int = 20

    def __post_init__(self) -> None:
        counts = (self.batch, self.ssim_every, self.interpolation_every, self.input_every)
        if min(*counts, self.checkpoint_every, self.report_every) < 1 or self.iterations < 0 or self.size < 8:
            raise ValueError("a fit's counts of pictures and steps are 1 or more, its pictures 8 pixels wide")
        rates = (self.position_lr, self.time_lr, self.scale_lr, self.rotation_lr, self.opacity_lr)
        weights = (self.mask_weight, self.interpolation_weight, self.input_weight, self.observed_color_weight)
        if min(*rates, self.color_lr, *weights) < 0 or self.final_lr_ratio <= 0:
            raise ValueError("a fit's rates and weights are 0 or more, and final_lr_ratio is more")
        if not 0 <= self.ssim_weight <= 1 or min(self.max_elongation, self.max_flatness) < 1:
            raise ValueError("ssim_weight is a share, and the bounds of a splat's shape are 1 or more")
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError("the seconds of a fit are more than 0, or null for no limit")
        if not all(0 <= share <= 1 for share in self.visibility_updates):
            raise ValueError("visibility_updates are shares of the fit: 0 to 1")
        if not 0 <= self.sh_degree <= MAX_DEGREE:
            raise ValueError(f"sh_degree is 0 to {MAX_DEGREE}")


PRESETS: dict[str, FitConfig] = {
    "draft": FitConfig(iterations=200, hull=HullConfig(splats=800)),
    "standard": FitConfig(iterations=1500),
    "high": FitConfig(
        iterations=2500,
        hull=HullConfig(resolution=160, splats=3000, min_splats=10000),
        densify=DensifyConfig(growth=2.0, max_splats=120000, n_densify=12),
        sh_degree=1,
    ),
}
