"""The small prior at the smallest size its parts allow, with random weights."""

from __future__ import annotations

import pytest
import torch
from tiny_frustum import tiny_frustum

from vid4d.priors.base import DEFAULT_PRIORS
from vid4d.priors.frustum import elevation
from vid4d.priors.small import prior as small
from vid4d.priors.small.lifting import LiftConfig
from vid4d.priors.small.model import SmallConfig, SmallPrior, ViewFeatures
from vid4d.priors.small.sampling import SampleConfig

LIFT = LiftConfig(
    image_size=32,
    channels=(8, 16, 16),
    volume_size=8,
    volume_channels=(8, 8, 16),
    transformer_blocks=1,
    heads=2,
    volume_heads=2,
    features=8,
    depths=8,
    embedding=16,
    head_channels=16,
)
CONFIG = SmallConfig(
    lift=LIFT,
    model_channels=24,
    frustum_channels=(8, 8, 16),
    noisy_hidden=8,
    noisy_channels=2,
    noisy_volume=(8, 8),
    noisy_views=4,
)


def tiny_prior(kind: type[SmallPrior] = SmallPrior, strength: float = 0.05) -> SmallPrior:
    """No weight is zero, so that everything that goes in shows in what comes out."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        prior = kind(CONFIG).eval().requires_grad_(False)
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * strength)
    return prior


class Copying(SmallPrior):
    """Renders the input picture from every side of its lifted volume, so that there is a visual hull."""

    def render_features(self, condition, cameras, views) -> ViewFeatures:
        look = super().render_features(condition, cameras, views)
        look.coarse = self.decode(condition.latent.float()).repeat_interleave(views, 0)
        return look


def still_prior(kind: type[SmallPrior] = SmallPrior) -> SmallPrior:
    """One whose UNet adds nothing to the rendering of the lifted volume."""
    prior = tiny_prior(kind)
    for parameter in prior.unet.out.parameters():
        parameter.zero_()
    return prior


def ship(monkeypatch: pytest.MonkeyPatch, network: SmallPrior, draft: SampleConfig | None = None) -> None:
    """Makes a network the one that the package ships. draft: how it draws with the preset of that name."""
    for offer in ("matrix", "score"):
        monkeypatch.setitem(DEFAULT_PRIORS, offer, "small")
    monkeypatch.setattr(small, "load_small_prior", lambda device: network)
    monkeypatch.setattr(elevation, "load_frustum_volume", lambda device: tiny_frustum())
    if draft is not None:
        monkeypatch.setitem(small.PRESETS, "draft", draft)
