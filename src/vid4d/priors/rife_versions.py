"""Versions of RIFE: the configuration of each, and how the authors' checkpoints are told apart.

A checkpoint does not say which version it is; the names and shapes of its tensors do, as far as versions
differ in what they compute. Facts are those of the authors' programs (Practical-RIFE) and of vs-rife, which
keeps one program a version. All run without their ensembles.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from vid4d.errors import InputError
from vid4d.priors.rife import Body, IFNet, IFNetConfig
from vid4d.priors.rife3 import IFNet3, IFNet3Config
from vid4d.priors.weights.convert_layouts import Named
from vid4d.priors.weights.network import Network

_FIVE = IFNetConfig(
    widths=(192, 128, 96, 64, 32),
    scales=(16, 8, 4, 2, 1),
    outputs=13,
    features=8,
    encoder="head",
    encoder_width=16,
    encoder_channels=4,
)
_HEAD = IFNetConfig(encoder="head", encoder_width=32, encoder_channels=8)
_FOUR = replace(_HEAD, encoder="four")
_LITE = (128, 96, 64, 48)

VERSIONS = {
    "4.0 or 4.1": IFNetConfig(body="skip", outputs=5),
    "4.2 to 4.4": IFNetConfig(body="plain", outputs=5),
    "4.5": IFNetConfig(outputs=5),
    "4.6": IFNetConfig(),
    "4.7 to 4.9": IFNetConfig(encoder="two", encoder_width=16, encoder_channels=4),
    "4.10 to 4.12": _FOUR,
    "4.12 or 4.13 lite": replace(_FOUR, widths=_LITE, encoder_channels=4),
    "4.13 to 4.15, 4.17 to 4.19, 4.24": _HEAD,
    "4.14 lite": replace(_HEAD, groups=2),
    "4.15 to 4.17 lite": replace(_HEAD, widths=_LITE, encoder_width=16, encoder_channels=4),
    "4.20": replace(_HEAD, widths=(384, 192, 96, 48)),
    "4.21 to 4.23": replace(_HEAD, widths=(256, 192, 96, 48), outputs=13, features=8),
    "4.22 lite": replace(_FIVE, widths=(192, 128, 64, 32), scales=(8, 4, 2, 1)),
    "4.25 or 4.26": _FIVE,
    "4.25 lite": replace(_FIVE, widths=(192, 128, 96, 64, 24), scales=(32, 16, 8, 4, 1)),
    "4.25 heavy": replace(_FIVE, widths=(384, 256, 192, 128, 64)),
    "4.26 heavy": replace(_FIVE, encoder_channels=16),
}
"""Versions of RIFE 4.x -> what they compute. No two of them differ in their scales only."""

KNOWN = "3.5 to 3.9, and 4.0 to 4.26 with their lite and heavy forms"


def _rife4_config(named: Named, source: Path) -> IFNetConfig:
    """The configuration whose tensors these are. Raises InputError, with what was found, without one."""
    found = _description(named, source)
    for config in VERSIONS.values():
        if config.widths == found.widths and replace(found, scales=config.scales) == config:
            return config
    encoder = f"a feature encoder of {found.encoder_width} and {found.encoder_channels} channels"
    if found.encoder == "none":
        encoder = "no feature encoder that is known"
    raise InputError(
        f"{source} is a RIFE of a version that is not known here ({len(found.widths)} refinements of "
        f"{', '.join(map(str, found.widths))} channels, {found.depth} {found.body} convolutions each, "
        f"{found.outputs} outputs, {encoder}): give one of {KNOWN}"
    )


def _description(named: Named, source: Path) -> IFNetConfig:
    """What the names and shapes of a checkpoint say; its scales are left open."""
    shapes = {name: parts[0].shape for name, parts in named.parts.items()}

    def shape(name: str) -> tuple[int, ...]:
        if len(shapes.get(name, ())) != 4:
            raise InputError(f"{source} lacks {name}, or has it in another shape than RIFE: get it again")
        return shapes[name]

    count = len({m[1] for m in (re.match(r"block(\d+)\.", n) for n in shapes) if m})
    widths = tuple(shape(f"block{i}.conv0.1.0.weight")[0] for i in range(count))
    depth = len({m[1] for m in (re.match(r"block0\.convblock\.(\d+)\.", n) for n in shapes) if m})
    residual = "block0.convblock.0.beta" in shapes
    body: Body = "residual" if residual else ("skip" if "block0.convblock.0.1.weight" in shapes else "plain")
    last = shape("block0.lastconv.0.weight" if residual else "block0.lastconv.weight")[1]
    outputs = last // 4 if residual else last
    inside = shape("block0.convblock.0.conv.weight" if residual else "block0.convblock.0.0.weight")[1]
    found = IFNetConfig(
        widths=widths,
        scales=(1,) * count,
        depth=depth,
        body=body,
        groups=max(1, widths[0] // max(1, inside)),
        outputs=max(5, outputs),
        features=8 if outputs == 13 else 0,
    )
    layers = {
        "two": ("encode.0.weight", "encode.1.weight"),
        "four": ("encode.0.weight", "encode.6.weight"),
        "head": ("encode.cnn0.weight", "encode.cnn3.weight"),
    }
    for encoder, (first, final) in layers.items():
        if first in shapes and final in shapes:
            return replace(
                found,
                encoder=encoder,  # type: ignore[arg-type]
                encoder_width=shape(first)[0],
                encoder_channels=shape(final)[1],
            )
    return found


def _rife3_config(named: Named, source: Path) -> IFNet3Config:
    """3.6 and later grow flow and mask by two layers each, 3.5 by one."""
    return IFNet3Config(learned_growth="block0.conv2.weight" not in named.parts)


_TEACHER = "serves the training of RIFE"

NETWORK_3 = Network(
    kind="rife3",
    title="RIFE 3.5 to 3.9",
    build=IFNet3,
    config=IFNet3Config,
    marks=("block0.convblock0.", "block0.conv2."),
    find_config=_rife3_config,
    prefixes={"block": "block"},
    left_out={r"block_tea\..*": _TEACHER},
)
NETWORK_4 = Network(
    kind="rife4",
    title="RIFE 4.x",
    build=IFNet,
    config=IFNetConfig,
    marks=("block0.convblock.0.", "block0.lastconv."),
    find_config=_rife4_config,
    prefixes={"block": "block", "encode.": "encode."},
    left_out={
        r"(block_tea|teacher|caltime)\..*": _TEACHER,
        r"(contextnet|unet)\..*": "a refinement that the authors' programs leave out (fastmode)",
    },
)
"""Layouts of the authors' RIFE checkpoints."""
