"""Configuration and preset values of Consistent4D (2311.02848)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vid4d.dynerf import PRESETS as FIELDS
from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.gaussians import fit_config as fits
from vid4d.methods.consistent4d.batches import BatchConfig, LinearSchedule, Milestone, TimestepRange
from vid4d.methods.consistent4d.views import DistillConfig


@dataclass(frozen=True)
class Consistent4DConfig:
    """Preset values; the defaults are the paper's. `lambda_*` are weights of losses, as in the authors' code.

    frames: key frames of the clip.
    clip_size: their width in pixels.
    levels: grid sizes of the cascade.
    steps: of training.
    milestones: picture size and batch from a step on.
    prior_every: of so many steps one is a prior step, the others are reference steps.
    lr: learning rate of Adam, with betas (0.9, 0.99).
    lambda_rgb, lambda_mask: of the reference loss (color, mask).
    lambda_sds: of score distillation.
    texture_steps: the last so many steps bring the clip's texture back: there lambda_rgb counts `texture_rgb`
        times and lambda_sds `texture_sds` times.
    lambda_icl: of the interpolation-driven consistency loss.
    lambda_normal_smooth: of the smoothness of 3D normals.
    lambda_orient: of normals that face away from the camera.
    n_reg_samples: random samples a step for the last two.
    guidance: scale of classifier-free guidance; the prior's own where None.
    t_range: noise levels of the distillation, as shares of the prior's schedule.
    batch: which views prior steps see.
    samples_per_ray: along the diagonal of the box.
    chunk: samples whose intermediate values are held at once.
    grid_resolution: cells along an edge of the occupancy grid.
    grid_update_every: steps between two updates of the grid.
    distill: how the image matrix is rendered.
    fit: how the Gaussians are fitted.
    validate_every, checkpoint_every, report_every: steps.
    validate_size: pixels.
    """

    frames: int = 32
    clip_size: int = 256
    levels: FieldConfig = FIELDS["standard"]
    steps: int = 10_000
    milestones: tuple[Milestone, ...] = (Milestone(0, 64, 4), Milestone(5000, 256, 1))
    prior_every: int = 2
    lr: float = 0.01

    lambda_rgb: float = 500.0
    lambda_mask: float = 50.0
    lambda_sds: float = 0.1
    texture_steps: int = 0
    texture_rgb: float = 5.0
    texture_sds: float = 0.2
    lambda_icl: float = 2500.0
    lambda_normal_smooth: float = 2.0
    lambda_orient: LinearSchedule = field(default_factory=lambda: LinearSchedule(1.0, 20.0, 5000))
    n_reg_samples: int = 1 << 14
    guidance: float | None = None
    t_range: TimestepRange = field(default_factory=TimestepRange)
    batch: BatchConfig = field(default_factory=BatchConfig)

    samples_per_ray: int = 256
    chunk: int = 1 << 20
    grid_resolution: int = 32
    grid_update_every: int = 16
    distill: DistillConfig = field(default_factory=DistillConfig)
    fit: fits.FitConfig = fits.PRESETS["standard"]
    validate_every: int = 2000
    validate_size: int = 128
    checkpoint_every: int = 250
    report_every: int = 20

    def __post_init__(self) -> None:
        begins = [stage.step for stage in self.milestones]
        if begins[:1] != [0] or begins != sorted(set(begins)):
            raise ValueError("the first milestone lies at step 0, and each later than the one before it")
        counts = (self.frames, self.steps, self.prior_every, self.samples_per_ray, self.chunk)
        every = (self.grid_update_every, self.validate_every, self.checkpoint_every, self.report_every)
        if min(*counts, *every, self.grid_resolution) < 1 or min(self.clip_size, self.validate_size) < 8:
            raise ValueError("counts of frames, steps and samples are 1 or more, and pictures 8 pixels wide")
        weights = (self.lambda_rgb, self.lambda_mask, self.lambda_sds, self.lambda_icl)
        smooth = (self.lambda_normal_smooth, self.lambda_orient.start, self.lambda_orient.end)
        texture = (self.texture_steps, self.texture_rgb, self.texture_sds)
        if min(*weights, *smooth, *texture, self.n_reg_samples) < 0 or self.lr <= 0:
            raise ValueError(
                "weights of losses, their samples and texture steps are 0 or more, the learning rate is more"
            )

    def weights_at(self, step: int) -> tuple[float, float]:
        """lambda_rgb and lambda_sds of a step."""
        if self.texture_steps == 0 or step < self.steps - self.texture_steps:
            return self.lambda_rgb, self.lambda_sds
        return self.lambda_rgb * self.texture_rgb, self.lambda_sds * self.texture_sds


STANDARD = Consistent4DConfig()
DRAFT = Consistent4DConfig(
    frames=8,
    levels=FieldConfig((LevelConfig(32, 8, 16, 32), LevelConfig(64, 8, 16, 32))),
    steps=500,
    milestones=(Milestone(0, 64, 4),),
    prior_every=3,
    lr=0.02,
    lambda_sds=0.05,
    lambda_orient=LinearSchedule(1.0, 20.0, 250),
    n_reg_samples=2048,
    t_range=TimestepRange(LinearSchedule(0.8, 0.2, 375), LinearSchedule(0.98, 0.4, 375)),
    samples_per_ray=128,
    chunk=1 << 18,
    distill=DistillConfig(size=96),
    fit=fits.PRESETS["draft"],
    validate_every=250,
    validate_size=64,
    checkpoint_every=50,
)
"""For the shipped priors on a processor."""

PRESETS: dict[str, Consistent4DConfig] = {
    "draft": DRAFT,
    "low-vram": replace(STANDARD, levels=FIELDS["low-vram"], chunk=1 << 17, n_reg_samples=1 << 13),
    "standard": STANDARD,
    "four-level": replace(STANDARD, levels=FIELDS["four-level"], chunk=1 << 19),
    "high": replace(STANDARD, levels=FIELDS["four-level"], chunk=1 << 19, fit=fits.PRESETS["high"]),
}
"""`high` is the four-level field, with the longer fit of the Gaussians."""
