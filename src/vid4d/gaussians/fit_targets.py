"""The pictures that 4D Gaussians are fitted to: their size, the object's window, the reference frames."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import rasterize_4d
from vid4d.gaussians.visibility import visible_from
from vid4d.matrix.matrix import ImageMatrix, TrustedView
from vid4d.media.images import resized


def resize_matrix(matrix: ImageMatrix, size: int, device: torch.device | str) -> ImageMatrix:
    """Image matrix on the device, at most `size` wide; input frames at most as wide as the matrix."""
    images, cameras, confidence = matrix.images, matrix.cameras, matrix.confidence
    if cameras.width > size:
        images, cameras = resized(images, size), cameras.resized(size)
        if confidence is not None:
            flat = confidence.flatten(0, 1)[:, None]
            confidence = F.interpolate(flat, images.shape[2:4], mode="area").reshape(images.shape[:4])
    inputs, camera, times = matrix.input_images, matrix.input_camera, matrix.input_times
    if inputs is not None and camera is not None and camera.width > cameras.width:
        inputs, camera = resized(inputs, cameras.width), camera.resized(cameras.width)
    also = [
        TrustedView(resized(view.images, cameras.width), view.camera.resized(cameras.width), view.times)
        if view.camera.width > cameras.width
        else view
        for view in matrix.also
    ]
    return replace(
        matrix,
        images=images.float().to(device),
        cameras=cameras.to(device),
        times=matrix.times.float().to(device),
        confidence=None if confidence is None else confidence.float().to(device),
        input_images=None if inputs is None else inputs.float().to(device),
        input_camera=None if camera is None else camera.to(device),
        input_times=None if times is None else times.float().to(device),
        also=tuple(
            TrustedView(v.images.float().to(device), v.camera.to(device), v.times.float().to(device))
            for v in also
        ),
    )


class Windows(NamedTuple):
    """Square windows in pictures: upper left corner (row, column) of each, and their size in pixels.

    corner: on the device of the pictures.
    """

    corner: Int[Tensor, "b 2"]
    size: int

    def crop(self, images: Tensor) -> Tensor:
        """Windows (b, size, size, ...) out of pictures (b, h, w, ...)."""
        function = _Slices if self.corner.device.type == "cpu" else _Gathered
        return function.apply(images, self.corner, self.size)


class _Slices(torch.autograd.Function):
    """Windows by slices, whose corners the host has to know: several times faster on a CPU."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, corner: Int[Tensor, "b 2"], size: int) -> Tensor:
        ctx.shape, ctx.places = (
            images.shape,
            [(slice(y, y + size), slice(x, x + size)) for y, x in corner.tolist()],
        )
        return torch.stack([image[place] for image, place in zip(images, ctx.places, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        whole = gradient.new_zeros(ctx.shape)
        for image, place, window in zip(whole, ctx.places, gradient, strict=True):
            image[place] = window
        return whole, None, None


class _Gathered(torch.autograd.Function):
    """Windows pixel by pixel, with corners that only the device knows."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, corner: Int[Tensor, "b 2"], size: int) -> Tensor:
        b, h, w, *rest = images.shape
        along, picture = torch.arange(size, device=corner.device), torch.arange(b, device=corner.device)
        rows, columns = (corner[:, :, None] + along).unbind(1)
        index = ((picture[:, None, None] * h + rows[:, :, None]) * w + columns[:, None, :]).flatten()
        ctx.shape = images.shape
        ctx.save_for_backward(index)
        return images.reshape(b * h * w, *rest).index_select(0, index).view(b, size, size, *rest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        whole = gradient.new_zeros(ctx.shape)
        # No pixel comes twice, so the order of the copies is all the same.
        whole.flatten(0, 2).index_copy_(0, index, gradient.flatten(0, 2))
        return whole, None, None


@dataclass(frozen=True)
class ReferenceFrames:
    """Reference frames of a fit: the input video's, or the matrix's view nearest to azimuth 0.

    from_input: whether they are the video's.
    """

    images: Float[Tensor, "s h w 4"]
    camera: Cameras
    times: Float[Tensor, " s"]
    from_input: bool

    @functools.cached_property
    def windows(self) -> Windows:
        """The object's window, the same in all frames."""
        return object_windows(self.images[None, ..., 3])


def reference_frames(matrix: ImageMatrix) -> ReferenceFrames:
    """Reference frames of an image matrix."""
    if matrix.input_images is not None and matrix.input_camera is not None and matrix.input_times is not None:
        return ReferenceFrames(matrix.input_images, matrix.input_camera, matrix.input_times, from_input=True)
    turn = (matrix.cameras.azimuth + 180) % 360 - 180
    view = int(turn.abs().argmin())
    return ReferenceFrames(matrix.images[view], matrix.cameras[view], matrix.times, from_input=False)


def all_references(matrix: ImageMatrix) -> list[ReferenceFrames]:
    """Reference frames of every camera, first those of `reference_frames`."""
    also = [ReferenceFrames(v.images, v.camera, v.times, from_input=True) for v in matrix.also]
    return [reference_frames(matrix), *also]


def object_windows(masks: Float[Tensor, "v t h w"], margin: int = 8) -> Windows:
    """Square windows around the object at all times, one of each view."""
    h, w = masks.shape[2:]
    size, middle = 1, []
    for mask in masks.amax(1) > 0.02:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            middle.append([h // 2, w // 2])
            continue
        top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
        size = max(size, bottom - top + 1, right - left + 1)
        middle.append([(top + bottom + 1) // 2, (left + right + 1) // 2])
    size = min(-(-(size + 2 * margin) // 8) * 8, h, w)
    corner = torch.tensor(middle) - size // 2
    corner = corner.clamp(min=0).minimum(torch.tensor([h - size, w - size]))
    return Windows(corner.to(masks.device), size)


@torch.no_grad()
def visible_in_input(
    gaussians: Gaussians4D, matrix: ImageMatrix, references: Sequence[ReferenceFrames]
) -> Bool[Tensor, "v t h w"]:
    """Mask of the matrix's pixels whose surface a camera of the references sees at that time, too.

    Surfaces are those of the Gaussians, so this gets better while they are fitted. The first camera sees all
    times; another one those that a picture of it is near to.
    """
    near = 0.75 / matrix.frames
    masks = []
    for time in matrix.times:
        views = rasterize_4d(gaussians, time.expand(matrix.views), matrix.cameras)
        shown = torch.zeros(views.alpha.shape, dtype=torch.bool, device=views.alpha.device)
        for i, reference in enumerate(references):
            if i == 0 or float((reference.times - time).abs().min()) <= near:
                own = rasterize_4d(gaussians, time[None], reference.camera)
                shown |= visible_from(reference.camera, own, matrix.cameras, views)
        masks.append(shown)
    return torch.stack(masks, 1)
