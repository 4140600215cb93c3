"""From pictures to solids as the network is best read: mirrored as well, and within the silhouette."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.priors.frustum.geometry import within_silhouette
from vid4d.priors.frustum.network import FrustumVolume, Solid


@torch.no_grad()
def draw_solids(
    network: FrustumVolume, picture: Float[Tensor, "b 4 h w"], elevation: Float[Tensor, " b"]
) -> Solid:
    """The mean of what the network says of pictures and of their mirror images, cut to the silhouette's cone.

    picture: RGBA over white in [-1, 1]. elevation: of the input cameras as far as it is known, radians.
    """
    plain = network(picture, elevation)
    mirrored = network(picture.flip(3), elevation)
    solid = Solid(
        (plain.logits + mirrored.logits.flip(4)) / 2,
        (plain.color + mirrored.color.flip(4)) / 2,
        (plain.elevation + mirrored.elevation) / 2,
    )
    return within_silhouette(solid, network.columns(picture)[:, 3] / 2 + 0.5)
