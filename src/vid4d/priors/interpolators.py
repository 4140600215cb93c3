"""Frame interpolators as methods call them: by name or file, on pictures in a run's form.

'small' ships with the package; 'rife-3' and 'rife-4' are converted by `vid4d weights`; any other name is a
file: a published flownet.pkl, what was converted from one, or what `vid4d train --stage interpolation` made.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.errors import InputError
from vid4d.media.images import premultiplied, straight
from vid4d.metrics.losses import Interpolate, Middle
from vid4d.priors.precision import repeatable
from vid4d.priors.rife import CONFIGS, IFNet, IFNetConfig
from vid4d.priors.rife3 import IFNet3
from vid4d.priors.rife_versions import NETWORK_3, NETWORK_4
from vid4d.priors.weights.convert import load_converted, load_published, network_in
from vid4d.priors.weights.files import config_from_json, load_into, read_metadata
from vid4d.priors.weights.loaded import loaded_once
from vid4d.priors.weights.registry import INTERPOLATORS, require

Interpolator = IFNet | IFNet3
SHIPPED = Path(__file__).parent / "data" / "interpolation.safetensors"
NETWORKS = (NETWORK_3, NETWORK_4)
NAMES = ("small", *INTERPOLATORS)
STAGE = "interpolation"
"""What `vid4d train` writes into the files of its interpolators."""


@loaded_once
def load_interpolator(name: str = "small", device: torch.device | str = "cpu") -> Interpolator:
    """The interpolator of that name or file, in float32.

    Raises InputError where its weights are not on this machine, or the file holds no interpolator.
    """
    path = check_interpolator(name)
    model: Interpolator
    if path.suffix != ".safetensors":
        model = load_published(path, networks=NETWORKS)  # type: ignore[assignment]
    elif "kind" in (metadata := read_metadata(path)):
        model = load_converted(path, networks=NETWORKS)  # type: ignore[assignment]
    else:
        config = metadata.get("config")
        model = IFNet(config_from_json(IFNetConfig, config) if config else CONFIGS["small"])
        load_into(model, path)
    return model.eval().requires_grad_(False).to(device, torch.float32)


def check_interpolator(name: str) -> Path:
    """The file of an interpolator. Raises InputError where there is none, or a file is something else."""
    if name == "small":
        return SHIPPED
    if name in INTERPOLATORS:
        return require(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"there is no interpolator {name!r}: give {', '.join(NAMES)} or a file of one")
    if path.suffix != ".safetensors":
        network_in(path, NETWORKS)
    elif (stage := read_metadata(path).get("stage", STAGE)) != STAGE:
        raise InputError(f"{path} holds the network of stage {stage!r}, no interpolator: give a file of one")
    return path


def finds_middles_only(model: Interpolator) -> bool:
    """Whether the interpolator can be asked for no other time than the middle, as RIFE 3.x."""
    return isinstance(model, IFNet3)


FAINT = 1e-3
"""Alpha at which the colors that a network puts together still say something."""


@torch.no_grad()
def frame_at(
    model: Interpolator,
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    t: Float[Tensor, " b"] | float = 0.5,
) -> Float[Tensor, "b c h w"]:
    """The frames between pairs of images in [0, 1]: RGB, or RGBA with straight alpha.

    Black where there is next to no alpha.
    """
    if first.shape[1] == 4:
        frame = straight(model(premultiplied(first, 1), premultiplied(second, 1), t).frame, 1).clamp(0, 1)
        frame[:, :3] *= frame[:, 3:] > FAINT
        return frame
    return model(first, second, t).frame.clamp(0, 1)


def as_midpoint(model: Interpolator) -> Middle:
    """The interpolator as measures and confidence maps call it: the frame half way between two pictures.

    Colors, or RGBA with premultiplied color, in [0, 1].
    """
    between = as_interpolator(model)

    @repeatable()
    def middle(a: Float[Tensor, "n h w c"], b: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w c"]:
        return between(a, b, torch.full((len(a),), 0.5))

    return middle


def as_interpolator(model: Interpolator) -> Interpolate:
    """The interpolator as the consistency loss calls it: pictures at shares of the way between two others.

    Colors, or RGBA with premultiplied color, in [0, 1].
    """

    @torch.no_grad()
    def between(
        a: Float[Tensor, "n h w c"], b: Float[Tensor, "n h w c"], share: Float[Tensor, " n"]
    ) -> Float[Tensor, "n h w c"]:
        parameter = next(model.parameters())
        first, second = (x.to(parameter).permute(0, 3, 1, 2) for x in (a, b))
        if a.shape[-1] == 3:
            first, second = (torch.cat([x, torch.ones_like(x[:, :1])], 1) for x in (first, second))
        frames = model(first, second, share.to(parameter)).frame.clamp(0, 1)
        return frames[:, : a.shape[-1]].permute(0, 2, 3, 1).to(a)

    return between


def frames_between(
    model: Interpolator, first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"], count: int
) -> list[Float[Tensor, "b c h w"]]:
    """`count` frames at even times between pairs of images; as `interpolate`, which has the limits."""
    if count and isinstance(model, IFNet3) and count > 1:
        half = frame_at(model, first, second)
        before, after = (frames_between(model, *pair, count // 2) for pair in ((first, half), (half, second)))
        return [*before, half, *after]
    return [frame_at(model, first, second, i / (count + 1)) for i in range(1, count + 1)]


def times_between(keys: Float[Tensor, " t"], count: int, *, cyclic: bool) -> Float[Tensor, " n"]:
    """Times of key frames in [0, 1], and of `count` frames between each two of them; a loop also closes."""
    ends = torch.cat([keys[1:], keys.new_ones(1)]) if cyclic else keys[1:]
    starts = keys if cyclic else keys[:-1]
    share = torch.arange(count + 1) / (count + 1)
    times = (starts[:, None] + share * (ends - starts)[:, None]).flatten()
    return times if cyclic else torch.cat([times, keys[-1:]])


@repeatable()
@torch.no_grad()
def interpolate(
    model: Interpolator,
    frames: Float[Tensor, "t c h w"],
    between: int = 3,
    *,
    cyclic: bool = False,
    batch: int = 16,
) -> Float[Tensor, "n c h w"]:
    """Adds frames at even times between each pair of neighbours; the given frames stay as they are.

    frames: RGB, or RGBA with straight alpha, in [0, 1]. cyclic: the last is followed by the first, too.
    batch: pairs at a time. Returns n = (t - 1) * (between + 1) + 1 frames, or t * (between + 1)
    of a cyclic clip. Each frame is found from its two given neighbours directly; RIFE 3.x halves intervals
    instead, so between + 1 must be a power of two for it.
    """
    count = frames.shape[0]
    if between < 0:
        raise ValueError(f"between is {between}: the number of frames to add cannot be negative")
    if between == 0 or count < 2:
        return frames
    if isinstance(model, IFNet3) and between > 1:
        if between % 2 == 0:
            raise ValueError(f"RIFE 3.x halves intervals and cannot add {between} frames: use 1, 3, 7, ...")
        half = interpolate(model, frames, between // 2, cyclic=cyclic, batch=batch)
        return interpolate(model, half, 1, cyclic=cyclic, batch=batch)
    pairs = count if cyclic else count - 1
    left = torch.arange(pairs, device=frames.device).repeat_interleave(between)
    right = (left + 1) % count
    t = (torch.arange(1, between + 1, device=frames.device) / (between + 1)).repeat(pairs)
    inserted = torch.cat(
        [
            frame_at(model, frames[left[i : i + batch]], frames[right[i : i + batch]], t[i : i + batch])
            for i in range(0, len(left), batch)
        ]
    )
    groups = torch.cat([frames[:pairs, None], inserted.unflatten(0, (pairs, between))], 1).flatten(0, 1)
    return groups if cyclic else torch.cat([groups, frames[-1:]])
