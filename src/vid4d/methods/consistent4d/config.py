"""What the presets of Consistent4D (2311.02848) settle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vid4d.dynerf import PRESETS as FIELDS
from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.gaussians import fit as fits
from vid4d.methods.consistent4d.batches import BatchConfig, Linear, Milestone, NoiseRange
from vid4d.methods.consistent4d.views import DistillConfig


@dataclass(frozen=True)
class Consistent4DConfig:
    """What a preset settles; the defaults are the paper's.

    frames: key frames of the clip. clip_size: their pixels. levels: sizes of the DyNeRF's cascade.
    steps: of training. milestones: picture size and batch from a step on. prior_every: of so many steps one
    is a prior step, the others are reference steps. rate: of Adam, with betas (0.9, 0.99).

    color, mask: weights of the reference loss. sds: of score distillation. icl: of the interpolation-driven
    consistency loss. smooth: of the normals' smoothness. orientation: of normals that face away from the
    camera. regularised: samples a step that the last two look at, chosen at random.
    guidance: of a Zero123. noise: shares of its schedule. batch: which views prior steps see.

    samples: of a ray along the box's diagonal. chunk: samples whose intermediate values are held at once.
    cells: of the occupancy grid along an edge, looked at again every `cells_every` steps.
    distill: how the image matrix is rendered. fit: how the Gaussians are fitted.
    validate_every, checkpoint_every, report_every: steps; validate_size: pixels.
    """

    frames: int = 32
    clip_size: int = 256
    levels: FieldConfig = FIELDS["standard"]
    steps: int = 10_000
    milestones: tuple[Milestone, ...] = (Milestone(0, 64, 4), Milestone(5000, 256, 1))
    prior_every: int = 2
    rate: float = 0.01

    color: float = 500.0
    mask: float = 50.0
    sds: float = 0.1
    icl: float = 2500.0
    smooth: float = 2.0
    orientation: Linear = field(default_factory=lambda: Linear(1.0, 20.0, 5000))
    regularised: int = 1 << 14
    guidance: float = 5.0
    noise: NoiseRange = field(default_factory=NoiseRange)
    batch: BatchConfig = field(default_factory=BatchConfig)

    samples: int = 256
    chunk: int = 1 << 20
    cells: int = 32
    cells_every: int = 16
    distill: DistillConfig = field(default_factory=DistillConfig)
    fit: fits.FitConfig = fits.PRESETS["standard"]
    validate_every: int = 2000
    validate_size: int = 128
    checkpoint_every: int = 250
    report_every: int = 20


STANDARD = Consistent4DConfig()
DRAFT = Consistent4DConfig(
    frames=8,
    levels=FieldConfig((LevelConfig(32, 8, 16, 32), LevelConfig(64, 8, 16, 32))),
    steps=500,
    milestones=(Milestone(0, 64, 4),),
    prior_every=3,
    rate=0.02,
    sds=0.05,
    orientation=Linear(1.0, 20.0, 250),
    regularised=2048,
    noise=NoiseRange(Linear(0.8, 0.2, 375), Linear(0.98, 0.4, 375)),
    samples=128,
    chunk=1 << 18,
    distill=DistillConfig(size=96),
    fit=fits.PRESETS["draft"],
    validate_every=250,
    validate_size=64,
    checkpoint_every=50,
)
"""For the small prior on a processor."""

PRESETS: dict[str, Consistent4DConfig] = {
    "draft": DRAFT,
    "low-vram": replace(STANDARD, levels=FIELDS["low-vram"], chunk=1 << 17, regularised=1 << 13),
    "standard": STANDARD,
    "four-level": replace(STANDARD, levels=FIELDS["four-level"], chunk=1 << 19),
    "high": replace(STANDARD, levels=FIELDS["four-level"], chunk=1 << 19, fit=fits.PRESETS["high"]),
}
"""`high` is the four-level field, with the longer fit of the Gaussians."""
