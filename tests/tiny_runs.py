"""Presets of both methods and of the enhancer at the smallest size at which all stages do something."""

from __future__ import annotations

from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.enhance.config import EnhancerConfig
from vid4d.enhance.network import GeneratorConfig
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.methods.consistent4d.batches import LinearSchedule, Milestone, TimestepRange
from vid4d.methods.consistent4d.config import Consistent4DConfig
from vid4d.methods.consistent4d.views import DistillConfig
from vid4d.methods.efficient4d import Efficient4DConfig

HULL = HullConfig(resolution=32, splats=40, min_splats=80)
SMALL_FIELD = FieldConfig((LevelConfig(12, 3, 4, 8), LevelConfig(20, 3, 4, 8)))
EFFICIENT = Efficient4DConfig(
    frames=3,
    n_interpolated=1,
    clip_size=32,
    fit=FitConfig(iterations=4, size=32, hull=HULL),
)
CONSISTENT = Consistent4DConfig(
    frames=3,
    clip_size=32,
    levels=SMALL_FIELD,
    steps=6,
    milestones=(Milestone(0, 16, 3), Milestone(4, 24, 1)),
    lambda_orient=LinearSchedule(1.0, 20.0, 3),
    n_reg_samples=64,
    t_range=TimestepRange(LinearSchedule(0.8, 0.2, 4), LinearSchedule(0.98, 0.4, 4)),
    samples_per_ray=32,
    grid_resolution=8,
    distill=DistillConfig(views=4, elevations=(10.0,), size=24),
    fit=FitConfig(iterations=4, size=24, hull=HULL),
    validate_every=3,
    validate_size=16,
    checkpoint_every=2,
    report_every=1,
)
ENHANCER = EnhancerConfig(
    size=32,
    views=2,
    frames=3,
    group=2,
    steps=6,
    generator=GeneratorConfig(width=8, halvings=2, heads=2),
    patch_width=4,
    checkpoint_every=2,
)


def tiny_drafts() -> None:
    """The draft presets become tiny in this process, for good, with a tiny network as the frustum prior."""
    import pytest
    from tiny_frustum import ship, slab

    from vid4d.enhance import enhance
    from vid4d.methods import efficient4d
    from vid4d.methods.consistent4d import method as consistent4d

    patch = pytest.MonkeyPatch()
    patch.setitem(efficient4d.PRESETS, "draft", EFFICIENT)
    patch.setitem(consistent4d.PRESETS, "draft", CONSISTENT)
    patch.setitem(enhance.PRESETS, "draft", ENHANCER)
    patch.setattr(enhance, "FPS", 6.0)
    ship(patch, slab())
