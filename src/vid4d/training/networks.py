"""Networks of the stages of training, in their sizes, with their first weights.

Each function takes `TrainOptions` and gives the network and its configuration as JSON. Initial weights are of
the same network, of the one the stage builds on, or of the one it is part of.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vid4d.enhance.sharpener import Sharpener, SharpenerConfig
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume
from vid4d.priors.rife import IFNet
from vid4d.priors.small.lifting import LiftConfig, Lifter
from vid4d.priors.small.model import SmallConfig, SmallPrior
from vid4d.priors.weights.eight_bit import read_pieces
from vid4d.priors.weights.files import (
    config_from_json,
    config_to_json,
    fill,
    load_into,
    read_metadata,
    read_weights,
)
from vid4d.training.interpolation import interpolation_model
from vid4d.training.train import TrainOptions


def interpolation_network(options: TrainOptions) -> tuple[IFNet, str]:
    """The small interpolator, new or as the initial file has it."""
    interpolator = interpolation_model()
    if options.initial is not None:
        load_into(interpolator, options.initial)
    return interpolator, config_to_json(interpolator.config)


def sharpening_network(options: TrainOptions) -> tuple[Sharpener, str]:
    """The sharpener of the video enhancer, new or as the initial file has it."""
    sharpener = Sharpener(SharpenerConfig())
    if options.initial is not None:
        load_into(sharpener, options.initial)
    return sharpener, config_to_json(sharpener.config)


def frustum_network(options: TrainOptions) -> tuple[FrustumVolume, str]:
    """The frustum volume, new or from a folder of 8-bit pieces.

    Pieces of a volume without gates go on as one that has them, all open, which draws the same; pieces of one
    that lets the picture's detail through matter go on without, which changes colors of what is hidden.
    """
    path = options.initial
    state, metadata = ({}, {}) if path is None else read_pieces(path)
    before = config_from_json(FrustumConfig, metadata.get("config"))
    volume = FrustumVolume(replace(before, gated=True, detail_stops=True))
    if path is not None:
        opened = {k: v for k, v in volume.state_dict().items() if k.startswith("gate.")}
        fill(volume, state if before.gated else state | opened, path)
    return volume, config_to_json(volume.config)


def lift_network(options: TrainOptions) -> tuple[Lifter, str]:
    """The volume generator, new, from a file of its own, or out of that of a whole small prior."""
    state, config, whole = _small(options.initial)
    lifter = Lifter(config.lift)
    if options.initial is not None:
        fill(lifter, state, options.initial, "lifter." if whole else "")
    return lifter, config_to_json(config.lift)


def diffusion_network(options: TrainOptions) -> tuple[SmallPrior, str]:
    """The small prior; its volume generator stays as it is.

    New, from the initial file of a whole one, or on top of lift's; `options.lifter` replaces the generator.
    """
    state, config, whole = _small(options.initial)
    if options.lifter is not None:
        stored = read_metadata(options.lifter).get("config")
        config = replace(config, lift=config_from_json(LiftConfig, stored))
    prior = SmallPrior(config)
    if options.initial is not None:
        fill(prior if whole else prior.lifter, state, options.initial)
    if options.lifter is not None:
        load_into(prior.lifter, options.lifter)
    prior.lifter.requires_grad_(False)
    return prior, config_to_json(config)


def _small(path: Path | None) -> tuple[dict[str, Tensor], SmallConfig, bool]:
    """Weights and sizes of a file of the small prior, or of its volume generator; whether of the whole."""
    state, metadata = ({}, {}) if path is None else read_weights(path)
    whole, stored = any(name.startswith("lifter.") for name in state), metadata.get("config")
    if whole:
        return state, config_from_json(SmallConfig, stored), True
    return state, SmallConfig(config_from_json(LiftConfig, stored)), False
