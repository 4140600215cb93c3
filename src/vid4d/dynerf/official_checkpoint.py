"""Checkpoints of Consistent4D's authors (2311.02848, code), read as a `CascadeField`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vid4d.dynerf.field import FieldConfig, LevelConfig
from vid4d.errors import InputError

_AUTHORS_NETWORKS = {
    "density_in": "density_network.{k}.layers.0.weight",
    "density_out": "density_network.{k}.layers.2.weight",
    "colour_in": "feature_network.{k}.layers.0.weight",
    "colour_out": "feature_network.{k}.layers.2.weight",
}


def from_geometry_state(
    state: Mapping[str, Tensor], *, frames: int | None = None
) -> tuple[FieldConfig, dict[str, Tensor]]:
    """The field of a checkpoint of Consistent4D's authors: its config and the state dict for `CascadeField`.

    state: name -> tensor; entries other than `geometry.*` are left out. frames: of the clip it was made from,
    so that clip times mean the same as there; where not given, clip times 0 and 1 are the ends of the time
    planes. Raises InputError where planes or networks are missing, or have shapes that no such field has.
    """
    entries = {k.removeprefix("geometry."): v for k, v in state.items() if k.startswith("geometry.")}
    count = len({name.split(".")[1] for name in entries if name.startswith("grids.")})
    if count == 0:
        raise InputError("the checkpoint has no entries `geometry.grids.*`: it is not a Consistent4D run's")
    levels, converted = [], {}
    for k in range(count):
        names = [f"grids.{k}.{i}" for i in range(6)] + [n.format(k=k) for n in _AUTHORS_NETWORKS.values()]
        missing = [f"geometry.{name}" for name in names if name not in entries]
        if missing:
            raise InputError(
                f"the checkpoint lacks {', '.join(missing)}: give a whole Consistent4D checkpoint"
            )
        planes = [entries[name] for name in names[:6]]
        _, channels, time, space = (*planes[2].shape, 0, 0, 0, 0)[:4]
        width = len(entries[names[6]])
        shapes: list[tuple[int, ...]]
        shapes = [(1, channels, time if i in (2, 4, 5) else space, space) for i in range(6)]
        shapes += [(width, channels), (1, width), (width, channels), (3, width)]
        for name, expected in zip(names, shapes, strict=True):
            if tuple(entries[name].shape) != expected:
                raise InputError(
                    f"geometry.{name} has shape {tuple(entries[name].shape)} where {expected} is expected: "
                    "only grids with as many points along x, y and z and networks of one width can be read"
                )
        converted[f"cascade.{k}.space"] = torch.cat([planes[i] for i in (0, 1, 3)])
        converted[f"cascade.{k}.time"] = torch.cat([planes[i] for i in (2, 4, 5)])
        for ours, theirs in _AUTHORS_NETWORKS.items():
            converted[f"cascade.{k}.{ours}"] = entries[theirs.format(k=k)].clone()
        levels.append(LevelConfig(space, time, channels, width))
    if frames is not None and frames < max(level.time for level in levels):
        raise InputError(
            f"the checkpoint's planes have {max(level.time for level in levels)} moments, more than the "
            f"{frames} frames given: give the number of frames of its own clip"
        )
    return FieldConfig(tuple(levels), frames=frames), converted
