"""Exported meshes against the asset, for benchmarks/round_trip.py: silhouettes, their bounds, colors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparisons import SIDES, Say, duration, span
from readers import Glb

from vid4d.asset import Asset
from vid4d.cameras import Cameras
from vid4d.metrics import mask_iou

OVERLAP, SILHOUETTE_BOUNDS, SURFACE_COLOR = 0.8, 0.03, 0.06
"""Of meshes: least mean overlap of silhouettes, most mean distance of bounds (world units) and of colors."""


@dataclass(frozen=True)
class Surface:
    """Triangles in world axes (z up). colors: sRGB per vertex."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray

    def point_renders(self, cameras: Cameras, count: int = 600_000) -> np.ndarray:
        """RGBA pictures: points all over the surface, the nearest one in every pixel."""
        draw = np.random.default_rng(0)
        corners = self.vertices[self.faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        faces = draw.choice(len(area), count, p=area / area.sum())
        root, along = np.sqrt(draw.random(count)), draw.random(count)
        weights = np.stack([1 - root, root * (1 - along), root * along], 1)[..., None]
        points = torch.from_numpy((corners[faces] * weights).sum(1)).float()
        colors = (self.colors[self.faces[faces]] * weights).sum(1)
        pictures = np.zeros((len(cameras), cameras.height, cameras.width, 4))
        for picture, pixels, depth in zip(pictures, *cameras.project(points), strict=True):
            x, y = pixels.floor().long().T.numpy()
            back_to_front = np.argsort(-depth.numpy(), kind="stable")
            inside = (x >= 0) & (x < cameras.width) & (y >= 0) & (y < cameras.height)
            order = back_to_front[inside[back_to_front]]
            picture[y[order], x[order], :3] = colors[order]  # of several to one place, the last one stays
            picture[y[order], x[order], 3] = 1
        return pictures


def to_world(points: np.ndarray) -> np.ndarray:
    """From glTF's axes (y up, front +z) to ours (z up, front +x)."""
    x, y, z = points.T
    return np.stack([z, x, y], 1)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def extent(mask: np.ndarray) -> np.ndarray:
    """Pixels between which the middle 98% of a silhouette lie: left, right, top, bottom."""
    y, x = np.nonzero(mask)
    return np.concatenate([np.quantile(along, (0.01, 0.99)) for along in (x, y)])


def compare_surfaces(asset: Asset, times: Sequence[float], surfaces: list[Surface], say: Say) -> None:
    """Silhouettes, bounds and colors against renders, from SIDES."""
    size = 160
    cameras = Cameras.orbit([a for a, _ in SIDES], [e for _, e in SIDES], size=size)
    pixel = 1.5 / float(cameras.focal[0])
    overlaps, offs, bounds, colors = [], [], [], []
    for moment, surface in zip(times, surfaces, strict=True):
        true, exported = asset.render(cameras, moment).numpy(), surface.point_renders(cameras)
        masks = [torch.from_numpy(some[..., 3]) for some in (true, exported)]
        overlaps += mask_iou(*masks).tolist()
        for a, b in zip(true, exported, strict=True):
            both = (a[..., 3] > 0.5) & (b[..., 3] > 0.5)
            boxes = [pixel * extent(some[..., 3] > 0.5) for some in (a, b)]
            bounds.append(boxes)
            offs.append(np.abs(boxes[0] - boxes[1]))
            colors.append([some[both][:, :3].mean(0) for some in (a, b)])
    shots = f"{len(SIDES)} sides at {len(times)} moments"
    worst = f"{np.mean(overlaps):.3f}, at worst {min(overlaps):.3f}"
    what = f"overlap of silhouettes, {shots} (mean ≥ {OVERLAP:g})"
    say(what, "1", worst, float(np.mean(overlaps)) >= OVERLAP)
    sizes = ["{:.3f} x {:.3f}".format(*mean_size(boxes)) for boxes in zip(*bounds, strict=True)]
    apart = f"mean {np.mean(offs):.3f}, most {np.max(offs):.3f}"
    what = f"width and height of silhouettes (bounds: mean ± {SILHOUETTE_BOUNDS:g}; {apart})"
    say(what, *sizes, float(np.mean(offs)) <= SILHOUETTE_BOUNDS)
    means = np.array(colors).mean(0)
    off = float(np.abs(np.array(colors)[:, 0] - np.array(colors)[:, 1]).mean())
    what = f"mean color of silhouettes (mean ± {SURFACE_COLOR:g}; {off:.3f})"
    say(what, span(means[0]), span(means[1]), off <= SURFACE_COLOR)


def mean_size(boxes: Sequence[np.ndarray]) -> np.ndarray:
    left, right, top, bottom = np.mean(boxes, 0)
    return np.array([right - left, bottom - top])


def check_glb(asset: Asset, files: list[Path], say: Say) -> None:
    import trimesh

    glb = Glb(files[0].read_bytes())
    duration(asset, glb.seconds, say)
    _, keys, _, _ = glb.samplers[0]
    tracked = len(glb.json["meshes"]) == 1
    targets = len(glb.json["meshes"][0]["primitives"][0].get("targets", [])) + 1
    count = targets if tracked else len(glb.json["meshes"])
    times = [i / (count if asset.cyclic else count - 1) for i in range(count)]
    if tracked:
        expected = np.array(times + ([1.0] if asset.cyclic else [])) * asset.seconds
        right = len(keys) == len(expected) and np.allclose(keys, expected, atol=1e-4)
        say(
            f"{count} moments of one mesh, evenly",
            f"0 to {expected[-1]:.3f} s",
            f"0 to {keys[-1]:.3f} s",
            right,
        )
    scene: Any = trimesh.load(files[0])
    closed = all(mesh.is_watertight for mesh in scene.geometry.values())
    say("closed (trimesh)", "yes", "yes" if closed else "no", closed)
    shown = sorted({0, count // 2, count - 1})
    surfaces = []
    for i in shown:
        # Where every moment has a mesh of its own, it is shown for as long as the others.
        seconds = times[i] * asset.seconds if tracked else (i + 0.5) / count * asset.seconds
        vertices, faces, colors = glb.at(seconds)
        surfaces.append(Surface(to_world(vertices), faces.astype(np.int64), to_srgb(colors)))
    compare_surfaces(asset, [times[i] for i in shown], surfaces, say)


def check_obj(asset: Asset, files: list[Path], say: Say) -> None:
    import trimesh

    metadata = json.loads(files[-1].read_text())
    duration(asset, metadata["seconds"], say)
    times = [frame["time"] for frame in metadata["frames"]]
    count = len(files) - 1
    expected = [i / (count if asset.cyclic else count - 1) for i in range(count)]
    right = len(times) == count and np.allclose(times, expected, atol=1e-6)
    say("files, one a moment, evenly", str(len(times)), str(count), right)
    meshes: list[Any] = [trimesh.load(file, process=False, maintain_order=True) for file in files[:-1]]
    closed = all(mesh.is_watertight for mesh in meshes)
    say("closed (trimesh)", "yes", "yes" if closed else "no", closed)
    same = all(np.array_equal(mesh.faces, meshes[0].faces) for mesh in meshes)
    say("`same_faces` says the truth", str(same), str(metadata["same_faces"]), same == metadata["same_faces"])
    shown = sorted({0, count // 2, count - 1})
    surfaces = [
        Surface(to_world(meshes[i].vertices), meshes[i].faces, meshes[i].visual.vertex_colors[:, :3] / 255)
        for i in shown
    ]
    compare_surfaces(asset, [times[i] for i in shown], surfaces, say)
