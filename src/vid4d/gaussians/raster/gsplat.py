"""Rasterising on CUDA with the gsplat package (1.5 or later): slices and colors in torch, the rest there.

It blends as described in `vid4d.gaussians.raster`, but it cuts a splat at a radius of its own choice
(about 3.3 standard deviations), and its opacity compensation has no lower bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians import raster, sh
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster.room import EntryRoom


def render(
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: Tensor,
    antialias: bool,
    room: EntryRoom | None = None,
) -> raster.SplatRender:
    """Renders with gsplat; see `vid4d.gaussians.raster.Backend`."""
    from gsplat.rendering import rasterization

    views, like = len(cameras), splats.means
    slices = []
    for i in range(views):
        if isinstance(splats, Gaussians4D):
            assert times is not None
            slices.append(splats.at(times[i]))
        else:
            slices.append(splats)
    positions = cameras.position.to(like)
    colors = [sh.evaluate(s.sh, s.means, p) for s, p in zip(slices, positions, strict=True)]
    # One scene per view (batch dimension V), seen by one camera each.
    picture, alpha, info = rasterization(
        means=torch.stack([s.means for s in slices]),
        quats=None,
        scales=None,
        opacities=torch.stack([s.opacities for s in slices]),
        colors=torch.stack(colors),
        viewmats=cameras.world_to_camera.to(like)[:, None],
        Ks=cameras.intrinsics.to(like)[:, None],
        width=cameras.width,
        height=cameras.height,
        near_plane=raster.NEAR,
        eps2d=raster.LOW_PASS,
        packed=False,
        backgrounds=background[:, None],
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if antialias else "classic",
        covars=torch.stack([s.covariances for s in slices]),
    )
    screen = info["means2d"] if info["means2d"].requires_grad else None
    if screen is not None:
        screen.retain_grad()
    radii = info["radii"].to(like.dtype).reshape(views, len(splats), -1).amax(-1)
    return raster.SplatRender(
        picture[:, 0, ..., :3],
        alpha[:, 0, ..., 0],
        picture[:, 0, ..., 3],
        info["means2d"].detach().reshape(views, -1, 2),
        radii,
        screen,
    )
