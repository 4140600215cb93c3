"""Networks of the stages of training, in their sizes, with their first weights.

Each function takes `TrainOptions` and gives the network and its configuration as JSON.
"""

from __future__ import annotations

from dataclasses import replace

from vid4d.enhance.sharpener import Sharpener, SharpenerConfig
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume
from vid4d.priors.rife import IFNet
from vid4d.priors.weights.eight_bit import read_pieces
from vid4d.priors.weights.files import config_from_json, config_to_json, fill, load_into
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
