"""Exported meshes against the asset, for benchmarks/round_trip.py: silhouettes, their bounds, colors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparisons import SIDES, Places, Say, duration, span
from readers import Glb, open_usd, usd_complaints, usd_surface

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
        places = Places.on(self.vertices, self.faces, count)
        points, colors = torch.from_numpy(places.at(self.vertices)).float(), places.at(self.colors)
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
    parts = [len(mesh["primitives"][0].get("targets", [])) + 1 for mesh in glb.json["meshes"]]
    count = sum(parts)
    times = [i / (count if asset.cyclic else count - 1) for i in range(count)]
    keys = sorted({float(k) for target, at, _, _ in glb.samplers if target["path"] == "weights" for k in at})
    if len(parts) == 1:
        expected = np.array(times + ([1.0] if asset.cyclic else [])) * asset.seconds
        right = len(keys) == len(expected) and np.allclose(keys, expected, atol=1e-4)
        say(
            f"{count} moments of one mesh, evenly",
            f"0 to {expected[-1]:.3f} s",
            f"0 to {keys[-1]:.3f} s",
            right,
        )
    scene: Any = trimesh.load(files[0])
    for mesh in scene.geometry.values():  # vertices stand twice where the texture is cut
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    closed = all(mesh.is_watertight for mesh in scene.geometry.values())
    say("closed (trimesh)", "yes", "yes" if closed else "no", closed)
    shown = sorted({0, count // 2, count - 1})
    surfaces = []
    for i in shown:
        vertices, faces, colors = glb.at(times[i] * asset.seconds)
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


def check_usd_surface(asset: Asset, files: list[Path], say: Say) -> None:
    stage, mesh = open_usd(files[0], "mesh")
    codes = mesh.GetPointsAttr().GetTimeSamples()
    last = stage.GetEndTimeCode() + asset.cyclic
    right = codes[0] == 0 and (abs(codes[-1] - last) < 1e-6 or asset.cyclic)
    say("time codes of the mesh", f"0 to {last:g}", f"{codes[0]:g} to {codes[-1]:g}", right)
    shown = [code for code in (codes[0], codes[len(codes) // 2], codes[-1]) if code <= stage.GetEndTimeCode()]
    surfaces = [Surface(*usd_surface(mesh, code)) for code in shown]
    compare_surfaces(asset, [code / last for code in shown], surfaces, say)
    complaints = usd_complaints(stage)
    say("complaints about the mesh of OpenUSD's validators", "0", str(len(complaints)), not complaints)
