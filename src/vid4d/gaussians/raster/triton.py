"""Rasterising on CUDA by our own Triton kernels: nothing to compile but what Triton compiles itself.

float32. Slices in time, projection, harmonics and blending happen in the kernels, for all views of a call at
once. Every sum has a fixed order: the same bytes every time on one card. The design, with what each
stage costs on paper, is in docs/gpu_splats.md.

In Triton's interpreter (TRITON_INTERPRET=1) it renders on a CPU, which is for tests.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from vid4d.cameras import Cameras
from vid4d.gaussians import raster
from vid4d.gaussians.model import Gaussians3D, Gaussians4D, _rotation_basis
from vid4d.gaussians.raster import (
    blend_kernels,
    color_kernels,
    project_backward_kernels,
    project_kernels,
    shape_kernels,
)
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.gaussians.raster.scene import Scene, plain, scene_of
from vid4d.kernels import on_device_of

TILE = 8
"""Pixels along a tile. Splats of a fit are some pixels wide: larger tiles blend where they are not."""
ENTRIES = 16
"""Splats that a tile blends at a time."""
BLEND_WARPS, BACKWARD_WARPS = 1, 1
BLOCK = 128
"""Splats of a program of all other kernels; one a thread."""
RECORD, SUMS, LOOK = 12, 12, 7
KEYS_16 = 1 << 16
"""Keys of 16 bits: one for each tile of all views, and one for room that is left."""


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def render(
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: Tensor,
    antialias: bool,
    room: EntryRoom | None = None,
) -> raster.SplatRender:
    """Renders with Triton kernels; see `vid4d.gaussians.raster.Backend`."""
    inputs: tuple[Tensor, ...]
    if isinstance(splats, Gaussians4D):
        shape = (splats.log_scales, splats.quats_left, splats.quats_right, splats.opacity_logits)
        covariances, opacities = _Shape.apply(*shape)
        inputs = (splats.means, covariances, opacities, splats.sh)
    else:
        covariances = (splats.covariances + splats.covariances.mT).flatten(1).T / 2
        inputs = (splats.means, covariances, splats.opacities, splats.sh[:, :, None])
    like = splats.means
    tracked = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    screen = like.new_zeros(len(cameras), len(splats), 2).requires_grad_() if tracked else None
    moments = like.new_zeros(len(cameras)) if times is None else times
    scene = scene_of(_Scene, splats, moments, cameras, background, antialias)
    color, alpha, depth, records, radii = _Rasterize.apply(*inputs, screen, scene, room)
    return raster.SplatRender(color, alpha, depth, records[..., :2], radii, screen)


@dataclass(frozen=True)
class _Scene(Scene):
    """With its tiles and the keys that they are sorted by; times are zeros where nothing moves."""

    @property
    def views(self) -> int:
        return self.focals.shape[0]

    @property
    def tiles_x(self) -> int:
        return -(-self.width // TILE)

    @property
    def tiles(self) -> int:
        """Tiles of a picture."""
        return self.tiles_x * -(-self.height // TILE)

    @property
    def key_type(self) -> torch.dtype:
        """Sorting keys: half the bits are half the passes."""
        return torch.int16 if self.views * self.tiles < KEYS_16 else torch.int32

    @property
    def first_key(self) -> int:
        """Key of the first tile of the first view."""
        return -(KEYS_16 // 2) if self.key_type == torch.int16 else 0


class _Entries(NamedTuple):
    """(tile, splat) pairs of all views.

    touched, ends: of every (view, splat), how many entries it has and where they end in `keys`, which lies
        splat by splat.
    ids, places: entries tile by tile, front to back: index of the (view, splat), and place in `keys`.
    starts: first entry of every tile; then the one behind the last of all.

    Where room was set aside, what is left of it lies behind all entries, in no particular state.
    """

    touched: Int[Tensor, " vn"]
    ends: Int[Tensor, " vn"]
    keys: Int[Tensor, " m"]
    ids: Int[Tensor, " m"]
    places: Int[Tensor, " m"]
    starts: Int[Tensor, " vt+1"]


def _launch(kernel: Any, like: Tensor, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Starts a kernel on the card of a tensor, unless there is nothing to do."""
    if all(grid):
        on_device_of(like, lambda: kernel[grid](*arguments, **options))


def _blocks(count: int, block: int | None = None) -> int:
    return -(-count // (block or BLOCK))


class _Shape(torch.autograd.Function):
    """Covariances (16, n), number by number, and opacities of 4D Gaussians."""

    BLOCK = 32

    @staticmethod
    def forward(
        ctx: Any, log_scales: Tensor, left: Tensor, right: Tensor, logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        inputs = tuple(plain(x) for x in (log_scales, left, right, logits))
        n, table = len(logits), _rotation_basis(torch.float32, logits.device)
        covariances, opacities = logits.new_empty(16, n), logits.new_empty(n)
        grid = (_blocks(n, _Shape.BLOCK),)
        outputs = (covariances, opacities, n, _Shape.BLOCK)
        _launch(shape_kernels.shape_kernel, logits, grid, *inputs, table, *outputs)
        ctx.save_for_backward(*inputs[:3], opacities, table)
        return covariances, opacities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_covariances: Tensor, grad_opacities: Tensor) -> tuple[Tensor, ...]:
        *inputs, opacities, table = ctx.saved_tensors
        n, gradients = len(opacities), [torch.empty_like(x) for x in (*inputs, opacities)]
        arguments = (*inputs, opacities, table, plain(grad_covariances), plain(grad_opacities), *gradients)
        grid = (_blocks(n, _Shape.BLOCK),)
        _launch(shape_kernels.shape_backward_kernel, opacities, grid, *arguments, n, _Shape.BLOCK)
        return tuple(gradients)


def _project(
    scene: _Scene, kinds: tuple[int, ...], inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Records (v, n, RECORD), radii and sorting depths (v, n) of splats in all views."""
    like, v, n = inputs[0], scene.views, len(inputs[0])
    found = (like.new_empty(v, n, RECORD), like.new_empty(v, n), like.new_empty(v, n))
    arguments = (*inputs, scene.times, scene.poses, scene.focals, *found)
    sizes = (n, scene.width, scene.height, scene.period)
    _launch(project_kernels.project_kernel, like, (_blocks(n), v), *arguments, *sizes, *kinds, BLOCK)
    return found


def _find_entries(
    scene: _Scene, records: Tensor, radii: Tensor, depths: Tensor, room: EntryRoom | None
) -> _Entries:
    """Lists of splats per tile, front to back.

    Waits for the device once, for their number, unless there is room for them; where that is too small the
    lists are empty. Splats are sorted by depth first, of all views together; then their entries by tile, in
    an order that is kept among equals.
    """
    views, count = radii.shape
    pairs, device = views * count, radii.device
    order = depths.view(-1).sort(stable=True).indices
    touched = torch.empty(pairs, dtype=torch.int32, device=device)
    ends = torch.empty(pairs, dtype=torch.int64, device=device)

    def launch(emit: int, keys: Tensor, owners: Tensor) -> None:
        arguments = (records, radii, order, ends, touched, keys, owners, count, pairs, emit)
        sizes = (scene.width, scene.height, scene.first_key, scene.tiles, scene.tiles_x, TILE, BLOCK)
        grid = (_blocks(pairs),)
        # Without fused multiply-adds both runs of it round alike.
        options = {} if interpreted() else {"enable_fp_fusion": False}
        _launch(blend_kernels.tiles_kernel, radii, grid, *arguments, *sizes, **options)

    nothing = torch.empty(0, dtype=scene.key_type, device=device)
    launch(0, nothing, order.new_empty(0, dtype=torch.int32))
    in_order = touched.gather(0, order).cumsum(0)
    ends.scatter_(0, order, in_order)
    first, behind = scene.first_key, scene.first_key + views * scene.tiles
    if room is None or not pairs:
        total = int(in_order[-1]) if pairs else 0
        keys = torch.empty(total, dtype=scene.key_type, device=device)
    else:
        total, fits = room.take(in_order[-1])
        touched *= fits  # nothing is written, and nobody looks for what was not
        keys = torch.full((total,), behind, dtype=scene.key_type, device=device)
    owners = torch.empty(total, dtype=torch.int32, device=device)
    launch(1, keys, owners)
    by_tile, places = keys.sort(stable=True)
    numbers = torch.arange(first, behind + 1, device=device).to(scene.key_type)
    starts = torch.searchsorted(by_tile, numbers)
    return _Entries(touched, ends, keys, owners.gather(0, places), places, starts)


class _Rasterize(torch.autograd.Function):
    """covariances: (dims^2, n), symmetric."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariances: Tensor,
        opacities: Tensor,
        sh: Tensor,
        screen: Tensor | None,
        scene: _Scene,
        room: EntryRoom | None,
    ) -> tuple[Tensor, ...]:
        v, h, w = scene.views, scene.height, scene.width
        inputs = (*(plain(x) for x in (means, covariances, opacities)), plain(sh.permute(1, 2, 3, 0)))
        kinds = (means.shape[1], *sh.shape[1:3], scene.cyclic, scene.antialias)
        records, radii, depths = _project(scene, kinds, inputs)
        entries = _find_entries(scene, records, radii, depths, room)
        like = inputs[0]
        color, alpha, depth = like.new_empty(v, h, w, 3), like.new_empty(v, h, w), like.new_empty(v, h, w)
        _launch(
            blend_kernels.blend_kernel,
            like,
            (v * scene.tiles,),
            *(records, entries.ids, entries.starts, scene.background),
            *(color, alpha, depth, w, h, scene.tiles, scene.tiles_x),
            *(TILE, ENTRIES, not interpreted()),
            num_warps=BLEND_WARPS,
        )
        ctx.scene, ctx.kinds = scene, kinds
        ctx.save_for_backward(*inputs, records, radii, color, alpha, depth, *entries)
        ctx.mark_non_differentiable(records, radii)
        ctx.set_materialize_grads(False)
        return color, alpha, depth, records, radii

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(g is None for g in gradients[:3]):
            return (None,) * 7
        scene = ctx.scene
        means, records, pictures = ctx.saved_tensors[0], ctx.saved_tensors[4], ctx.saved_tensors[6:9]
        entries = _Entries(*ctx.saved_tensors[9:])
        given = zip(gradients[:3], pictures, strict=True)
        grads = [torch.zeros_like(x) if g is None else plain(g) for g, x in given]
        sums = means.new_empty(len(entries.keys), SUMS)
        _launch(
            blend_kernels.blend_backward_kernel,
            means,
            (scene.views * scene.tiles,),
            *(records, entries.ids, entries.places, entries.starts),
            *(*pictures, *grads, sums, scene.width, scene.height, scene.tiles, scene.tiles_x),
            *(TILE, ENTRIES, not interpreted()),
            num_warps=BACKWARD_WARPS,
        )
        return (*_splat_gradients(scene, ctx.kinds, ctx.saved_tensors[:6], entries, sums), None, None)


def _splat_gradients(
    scene: _Scene, kinds: tuple[int, ...], saved: tuple[Tensor, ...], entries: _Entries, sums: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of means, covariances, opacities, sh and screen from the sums of all entries."""
    means, covariances, opacities, sh, records, radii = saved
    v, n = radii.shape
    looks = means.new_empty(LOOK, v, n)
    results = [torch.empty_like(x) for x in (means, covariances, opacities)]
    screen, by_sh = means.new_empty(v, n, 2), torch.empty_like(sh)
    _launch(
        project_backward_kernels.splat_backward_kernel,
        means,
        (_blocks(n, BLOCK // 2),),
        *(means, covariances, opacities, sh, scene.times, scene.poses, scene.focals, records, radii),
        *(entries.touched, entries.ends, entries.keys, sums, *results, screen, looks),
        *(n, v, scene.width, scene.height, scene.period, scene.first_key, scene.tiles, scene.tiles_x),
        *(*kinds, TILE, BLOCK // 2),
        num_warps=2,
    )
    harmonics, fourier = kinds[1:3]
    _launch(
        color_kernels.sh_backward_kernel,
        means,
        (_blocks(n), fourier),
        *(looks, by_sh, n, v, scene.period, harmonics, fourier, BLOCK),
    )
    return (*results, by_sh.permute(3, 0, 1, 2), screen)
