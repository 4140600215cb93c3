"""Meshes that are judged, or are the truth: an animated GLB, or a GLB a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.placement import AS_IT_IS, Placement
from vid4d.evaluation.seen import RENDERED, Moments, Report, Seen, chosen_moments
from vid4d.media.images import to_uint8
from vid4d.meshing.glb_file import Glb, Surface
from vid4d.training.mesh_render import Lighting, render_depth, render_meshes
from vid4d.training.meshes import MeshBank, MeshBatch, TrainingMesh

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

    def depths(self, cameras: Cameras, moments: Moments) -> Float[np.ndarray, "v t h w"]:
        """Depth of the surface at the pixels' centres, infinite where there is none. Square pictures only."""
        index = torch.zeros(len(cameras), dtype=torch.long)
        every = [render_depth(mesh_batch(s), cameras, index).numpy() for s in self.surfaces(moments)]
        return np.stack(every, 1)

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """Renders without light, and depth at the pixels' centres. Raises InputError for oblong pictures."""
        check_square(cameras)
        full, none = torch.ones(1), torch.zeros(1)
        colors = torch.eye(3, 4)[None]
        unlit = Lighting(full, none, none, torch.tensor([[0.0, 0, 1]]), colors, torch.zeros(1, 5))
        pictures = []
        every = self.surfaces(moments)
        index = torch.zeros(len(cameras), dtype=torch.long)
        for t, surfaces in enumerate(every):
            batch = mesh_batch(surfaces)
            pictures.append(to_uint8(render_meshes(batch, cameras, index, unlit, supersample=SUPERSAMPLE)))
            if report is not None:
                report(t + 1, len(every))
        return Seen(np.stack(pictures, 1), RENDERED, depth=self.depths(cameras, moments))


def check_square(cameras: Cameras) -> None:
    """Raises InputError for cameras that meshes cannot be drawn for."""
    if cameras.width != cameras.height:
        raise InputError(
            f"meshes are drawn into square pictures, and the truth has {cameras.width} x {cameras.height}: "
            "make its pictures square"
        )


def mesh_batch(surfaces: list[Surface]) -> MeshBatch:
    """The surfaces as one object for the renderer of `vid4d.training.mesh_render`."""
    white = np.full((1, 1, 4), 255, np.uint8)
    parts = []
    for i, s in enumerate(surfaces):
        corners = np.arange(s.faces.size).reshape(-1, 3)
        uv = np.zeros((len(s.vertices), 2)) if s.uv is None else s.uv
        uv = uv[s.faces]
        uv = uv - np.floor(uv.min(1, keepdims=True) + 1e-6)  # textures repeat
        parts.append(
            TrainingMesh(
                name=str(i),
                poses=s.vertices[None].astype(np.float32),
                faces=s.faces,
                uv=uv.reshape(-1, 2).astype(np.float32),
                uv_faces=corners,
                smooth=np.ones(len(s.faces), bool),
                texture=white if s.texture is None else s.texture,
                vertex_color=np.rint(s.colors[s.faces].reshape(-1, 3) * 255).astype(np.uint8),
                has_alpha=s.masked,
            )
        )
    count = torch.arange(len(parts))
    batch = MeshBank(parts).batch(count, count * 0)
    return replace(batch, vertex_object=batch.vertex_object * 0, face_object=batch.face_object * 0, objects=1)
