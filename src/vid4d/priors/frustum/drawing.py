"""Solids read off the network from pictures: mirrored as well, within the silhouette, over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.priors.frustum.geometry import within_silhouette
from vid4d.priors.frustum.matter import with_thin_parts
from vid4d.priors.frustum.network import FrustumVolume, Solid
from vid4d.priors.precision import repeatable


class _Features(NamedTuple):
    """Features of one picture from which voxels are decoded (`FrustumVolume`)."""

    fine: Tensor
    picture_tokens: Tensor
    volume_tokens: Tensor
    elevation: Tensor


@repeatable()
@torch.no_grad()
def _features(network: FrustumVolume, picture: Tensor, elevation: Tensor) -> _Features:
    fine, tokens, guess = network.encode(picture)
    return _Features(fine, *network.attend(tokens, elevation), guess)


@repeatable()
@torch.no_grad()
def _solid(
    network: FrustumVolume, plain: _Features, mirrored: _Features, picture: Float[Tensor, "1 4 h w"]
) -> Solid:
    """The mean of two readings, the second of the mirror image: matter wherever the picture shows some, and
    nowhere else."""
    logits, color = network.voxels(*plain[:3], picture)
    other_logits, other_color = network.voxels(*mirrored[:3], picture.flip(3))
    solid = Solid(
        (logits + other_logits.flip(4)) / 2,
        (color + other_color.flip(4)) / 2,
        (plain.elevation + mirrored.elevation) / 2,
    )
    alpha = network.columns(picture)[:, 3] / 2 + 0.5
    solid = within_silhouette(solid, alpha)
    return solid._replace(logits=with_thin_parts(solid.logits, alpha, network.config.voxel))


def _averaged(frames: Mapping[int, _Features], index: int, weights: Float[Tensor, " t"]) -> _Features:
    """A frame's features with its volume tokens averaged over time."""
    tokens = sum(weights[i] * frames[i].volume_tokens for i in weights.nonzero()[:, 0].tolist())
    return frames[index]._replace(volume_tokens=cast(Tensor, tokens))


def iterate_solids(
    network: FrustumVolume,
    pictures: Float[Tensor, "t 4 h w"],
    elevation: Float[Tensor, " t"],
    *,
    averaging: Float[Tensor, "t t"] | None = None,
    first: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Solid]:
    """The solids of a clip's frames, one after the other, so that few are held at a time: of features those
    of the frames that a later one still asks for.

    Each is the mean of what the network says of the picture and of its mirror image, within the silhouette's
    cone and with matter on all of its rays. Before voxels are drawn, the volume tokens of all frames are
    averaged over time (the volumes of 2401.08742, section 3.2); each frame's own picture then draws its
    detail. Averaging the occupancies themselves takes away what moves (docs/experiments.md).

    pictures: RGBA over white in [-1, 1]. elevation: of the input cameras as far as it is known, radians.
    averaging: weights of each frame's (row's) tokens; each stays as it is where None. first: frame to begin
    with. progress: called with the number of frames that the transformer has been through.
    """
    weights = torch.eye(len(pictures)) if averaging is None else averaging.cpu()
    last = [int(column.nonzero().max()) for column in weights.T]  # that asks for a frame
    plain: dict[int, _Features] = {}
    mirrored: dict[int, _Features] = {}
    done = 0
    for i, picture in enumerate(pictures[first:].split(1), first):
        for j in weights[i].nonzero()[:, 0].tolist():
            if j not in plain:
                asked = pictures[j : j + 1]
                plain[j] = _features(network, asked, elevation[j : j + 1])
                mirrored[j] = _features(network, asked.flip(3), elevation[j : j + 1])
                done += 1
                if progress:
                    progress(done)
        sides = plain[i], mirrored[i]
        if averaging is not None:
            sides = _averaged(plain, i, averaging[i]), _averaged(mirrored, i, averaging[i])
        for j in [j for j in plain if last[j] <= i]:
            del plain[j], mirrored[j]
        yield _solid(network, *sides, picture)


def draw_solids(
    network: FrustumVolume,
    pictures: Float[Tensor, "t 4 h w"],
    elevation: Float[Tensor, " t"],
) -> Solid:
    """The solids of `iterate_solids` in one batch, each frame's own."""
    return Solid(*map(torch.cat, zip(*iterate_solids(network, pictures, elevation), strict=True)))
