"""Settings of the video enhancer, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from vid4d.enhance.network import GeneratorConfig


@dataclass(frozen=True)
class EnhancerConfig:
    """Settings of the training of one object's enhancer.

    size: pixels of its pictures. views: cameras around the object that it learns from, beside the clip's.
    frames: moments of each, at most. group: consecutive frames of a step (the authors' are 16). steps, decay:
    steps in all, and the share of them over which the learning rate falls to nothing (the authors have 100
    epochs at one rate and 100 of fall). clip_share: of the steps that learn from the clip's own frames.
    l1_weight, gan_weight: of absolute differences and of the PatchGAN; l1_weight as in pix2pix. patch_width:
    channels of the PatchGAN's first level. checkpoint_every: steps.
    """

    size: int = 256
    views: int = 8
    frames: int = 16
    group: int = 16
    steps: int = 1600
    decay: float = 0.5
    lr: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.999)
    clip_share: float = 0.5
    l1_weight: float = 100.0
    gan_weight: float = 1.0
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    patch_width: int = 64
    checkpoint_every: int = 50


PRESETS: dict[str, EnhancerConfig] = {
    "draft": EnhancerConfig(group=6, steps=200, lr=1e-3, generator=GeneratorConfig(width=16), patch_width=16),
    "standard": EnhancerConfig(),
}
