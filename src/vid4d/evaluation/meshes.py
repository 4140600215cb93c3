"""Meshes that are judged, or are the truth: an animated GLB, or a GLB a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.glb import Glb, Surface, mesh_batch
from vid4d.evaluation.placement import AS_IT_IS, Placement
from vid4d.evaluation.seen import RENDERED, Moments, Report, Seen, chosen_moments
from vid4d.media.images import to_uint8
from vid4d.training.mesh_render import Lighting, render_with_depth

SUPERSAMPLE = 3


@dataclass(frozen=True)
class MeshSequence:
    """Meshes over time, placed in the truth's world: one file that moves, or one a moment."""

    files: list[Path]
    placement: Placement = AS_IT_IS

    @property
    def kind(self) -> str:
        """In words."""
        return "animated GLB" if len(self.files) == 1 else f"GLB meshes, {len(self.files)} moments"

    def surfaces(self, moments: Moments) -> Sequence[list[Surface]]:
        """What is there at every moment, in the truth's world."""
        if len(self.files) == 1:
            glb = Glb(self.files[0])
            every = [glb.at(t * glb.seconds) for t in moments.over(False)]
        else:
            order = chosen_moments(len(self.files), None, moments, str(self.files[0].parent))
            every = [Glb(self.files[i]).at(0.0) for i in order]
        matrix, shift = self.placement.matrix.double().numpy(), np.array(self.placement.shift)
        return [[replace(s, vertices=s.vertices @ matrix.T + shift) for s in one] for one in every]

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """Renders without light, with the depth of what is nearest in each pixel."""
        if cameras.width != cameras.height:
            raise InputError(
                f"meshes are drawn into square pictures, and the truth has {cameras.width} x "
                f"{cameras.height}: make its pictures square"
            )
        full, none = torch.ones(1), torch.zeros(1)
        unlit = Lighting(
            full, none, none, torch.tensor([[0.0, 0, 1]]), torch.eye(3, 4)[None], torch.zeros(1, 5)
        )
        pictures, depths = [], []
        every = self.surfaces(moments)
        index = torch.zeros(len(cameras), dtype=torch.long)
        for t, surfaces in enumerate(every):
            batch = mesh_batch(surfaces)
            rgba, depth = render_with_depth(batch, cameras, index, unlit, supersample=SUPERSAMPLE)
            cells = depth.unflatten(2, (cameras.width, -1)).unflatten(1, (cameras.height, -1))
            pictures.append(to_uint8(rgba))
            depths.append(cells.amin((2, 4)).numpy())
            if report is not None:
                report(t + 1, len(every))
        return Seen(np.stack(pictures, 1), RENDERED, depth=np.stack(depths, 1))
