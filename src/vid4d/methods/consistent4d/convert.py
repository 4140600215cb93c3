"""Checkpoints of Consistent4D's authors (2311.02848, code) become DyNeRFs of ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vid4d.dynerf import CascadeField, FieldConfig
from vid4d.dynerf.official_checkpoint import from_geometry_state
from vid4d.errors import InputError
from vid4d.priors.weights.checkpoint_reader import Entry
from vid4d.priors.weights.convert import compare_shapes, expected_shapes
from vid4d.priors.weights.convert_layouts import check_constants, in_our_names, unexpected
from vid4d.priors.weights.network import Layout, Network

PARTS = r"geometry\.(grids\.\d+\.[0-5]|(density|feature)_network\.\d+\.layers\.[02]\.weight)"
"""Names of a field's parameters in their checkpoints."""

LEFT_OUT = {
    r"geometry\.bbox": "the box of the field, which is known",
    r"(renderer|background|material|guidance|exporter)\..*": "other parts of a Consistent4D run",
}


def read_field(state: Mapping[str, Any], source: Path) -> Layout:
    """Configuration and tensors of the field in a run's checkpoint."""
    check_constants(state, source)
    named = in_our_names(state, {"geometry.": "geometry."}, LEFT_OUT, source)
    if unknown := [name for name in named.parts if not re.fullmatch(PARTS, name)]:
        raise unexpected(unknown, source)
    config, tensors = from_geometry_state({name: part.read() for name, (part,) in named.parts.items()})
    used = sum(value.numel() for value in tensors.values())
    if used != sum(math.prod(part.shape) for (part,) in named.parts.values()):
        raise InputError(f"{source} holds more of a field than is known here: give a Consistent4D checkpoint")
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    compare_shapes(expected_shapes(NETWORK, config), shapes, source)
    entries = [Entry(name, t.dtype, tuple(t.shape), t.clone) for name, t in tensors.items()]
    return config, entries, named.left_out


NETWORK = Network(
    kind="kplanes",
    title="a Consistent4D run",
    build=CascadeField,
    config=FieldConfig,
    marks=("geometry.grids.",),
    read=read_field,
)
"""Layout of a Consistent4D run's last.ckpt."""
