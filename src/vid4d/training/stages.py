"""Stages of training: one row each, with its network, data, loss and outer layers.

To add a stage: its functions, and its row in `STAGES`. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vid4d.errors import InputError


@dataclass(frozen=True)
class TrainingStage:
    """Recipe of the training of one network. Functions are named as "module:function".

    network: of `TrainOptions`; gives the network on the CPU with its first weights (parts that stay fixed
    need no gradient), and its configuration as JSON. data: of the network, a `ViewSource`, the batch's size
    and the device; gives a `SideStream` of batches. views: fields of `ViewsConfig` that are not the default.
    loss: of the network, the stream and the device; gives the `LossFunction` of a `Trainer`. outer: ends of
    the names of the layers that see pictures or predict them, which Muon leaves to Adam. compiled: modules
    and methods of the network that run on fixed shapes. eight_bit: weights are written in 8-bit pieces.
    made_up: made-up things that are drawn beside the models. made_up_share: how often, of all objects.
    """

    help: str
    network: str
    data: str
    loss: str
    outer: tuple[str, ...]
    views: Mapping[str, Any] = field(default_factory=dict)
    compiled: tuple[str, ...] = ()
    eight_bit: bool = False
    made_up: int = 0
    made_up_share: float = 0.35


STAGES = {
    "interpolation": TrainingStage(
        help="the small RIFE",
        network="vid4d.training.networks:interpolation_network",
        data="vid4d.training.interpolation:motion_batches",
        loss="vid4d.training.interpolation:interpolation_loss",
        outer=(),
    ),
    "sharpening": TrainingStage(
        help="the sharpener of the video enhancer",
        network="vid4d.training.networks:sharpening_network",
        data="vid4d.training.sharpening:render_batches",
        loss="vid4d.training.sharpening:sharpening_loss",
        outer=("enter", "leave"),
        views={"size": 256, "ring_views": 1, "free_views": 1, "augment": 0.5},
    ),
    "frustum": TrainingStage(
        help="the frustum prior",
        network="vid4d.training.networks:frustum_network",
        data="vid4d.training.frustum:frustum_batches",
        loss="vid4d.training.frustum:frustum_loss",
        outer=("stem", "to_tokens", "guess.3", "elevation.0", "leave", "gate", "to_cells"),
        views={"combine": 0.03, "augment": 0.5, "warp": 0.6},
        compiled=("encode", "decode"),
        eight_bit=True,
        made_up=1500,
    ),
}
"""Stages by the name that `vid4d train --stage` takes."""


def stage_named(name: str) -> TrainingStage:
    """Row of a stage. Raises InputError for a name that there is not."""
    if name not in STAGES:
        raise InputError(f"there is no stage {name!r}: choose one of {', '.join(STAGES)}")
    return STAGES[name]
