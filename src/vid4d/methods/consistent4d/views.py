"""Pictures of a DyNeRF: the image matrix for Gaussians to be fitted to, and videos for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, OccupancyGrid, paint_normals, render_field
from vid4d.errors import InputError
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, straight
from vid4d.media.video import write_mp4
from vid4d.methods.consistent4d.subject import Subject


@dataclass(frozen=True)
class DistillConfig:
    """The image matrix that is rendered from a DyNeRF.

    views: around the object, at each of the elevations (degrees), whose rings are turned against each other.
    size: pixels. batch: pictures at a time.
    """

    views: int = 16
    elevations: tuple[float, ...] = (0.0, 30.0)
    size: int = 256
    batch: int = 4

    def __post_init__(self) -> None:
        if min(self.views, len(self.elevations), self.batch) < 1 or self.size < 8:
            raise ValueError("rendered views and elevations are 1 or more, views 8 pixels wide")
        if not all(-90 <= e <= 90 for e in self.elevations):
            raise ValueError("elevations are -90 to 90 degrees")

    def cameras(self) -> Cameras:
        """All rings; the first view of the first lies at azimuth 0."""
        turn = 360.0 / self.views
        shift = [turn * i / len(self.elevations) for i in range(len(self.elevations))]
        rings = [
            Cameras.orbit([turn * i + s for i in range(self.views)], e, size=self.size)
            for s, e in zip(shift, self.elevations, strict=True)
        ]
        return Cameras.cat(rings)


@torch.no_grad()
def render_views(
    field: CascadeField,
    grid: OccupancyGrid,
    cameras: Cameras,
    times: Float[Tensor, " n"],
    samples: int,
    *,
    batch: int = 4,
    normals: bool = False,
    report: Callable[[int], object] | None = None,
) -> tuple[Float[Tensor, "n h w 4"], Float[Tensor, "n h w 3"] | None]:
    """The last level, on the CPU: straight-alpha RGBA, and where asked for normals as colors over white."""
    pictures, shapes = [], []
    for i in range(0, len(cameras), batch):
        some, when = cameras[i : i + batch], times[i : i + batch]
        rendering = render_field(
            field,
            some,
            when.to(field.device),
            levels="last",
            grid=grid,
            background=0.0,
            normals=normals,
            samples=samples,
        )[0]
        pictures.append(
            straight(torch.cat([rendering.color, rendering.alpha[..., None]], -1)).clamp(0, 1).cpu()
        )
        if normals:
            shapes.append(paint_normals(rendering).clamp(0, 1).cpu())
        if report is not None:
            report(min(i + batch, len(cameras)))
    return torch.cat(pictures), torch.cat(shapes) if shapes else None


def render_matrix(
    field: CascadeField,
    grid: OccupancyGrid,
    subject: Subject,
    config: DistillConfig,
    samples: int,
    report: Callable[[int, int], object] | None = None,
) -> ImageMatrix:
    """The image matrix at the subject's times, with the clip itself as the reference view.

    Raises InputError where the field is empty at one of them.
    """
    cameras, count = config.cameras(), len(subject.times)
    views = torch.arange(len(cameras)).repeat_interleave(count)
    pictures, _ = render_views(
        field,
        grid,
        cameras[views],
        subject.times.repeat(len(cameras)),
        samples,
        batch=config.batch,
        report=None if report is None else lambda done: report(done, len(views)),
    )
    images = remove_small_components(pictures.unflatten(0, (len(cameras), count)))
    empty = images[..., 3].amax((0, 2, 3)) < 0.5
    if empty.any():
        raise InputError(
            f"the trained volume shows nothing at key frame {int(empty.nonzero()[0])}: make the run again "
            "with numbers nearer to the preset's, or with another --seed"
        )
    has_frames = subject.frames is not None
    return ImageMatrix(
        images=images,
        cameras=cameras,
        times=subject.times,
        input_images=subject.frames,
        input_camera=subject.camera(subject.frames.shape[2]) if subject.frames is not None else None,
        input_times=subject.times if has_frames else None,
        seconds=subject.seconds,
        cyclic=subject.cyclic,
    )


def write_validation(
    folder: Path,
    field: CascadeField,
    grid: OccupancyGrid,
    subject: Subject,
    *,
    size: int,
    samples: int,
    views: int = 24,
    fps: float = 12.0,
) -> list[Path]:
    """Videos, colors left and normals right: turntables at 3 times, and 3 poses over time.

    A static object has one turntable and no videos over time. Returns the files.
    """
    elevation = subject.elevation
    files = []

    def film(name: str, cameras: Cameras, times: Tensor) -> None:
        pictures, shapes = render_views(field, grid, cameras, times, samples, normals=True)
        assert shapes is not None
        frames = torch.cat([over_white(pictures), shapes], 2).numpy()
        files.append(write_mp4(folder / f"{name}.mp4", iter(frames), fps))

    folder.mkdir(parents=True, exist_ok=True)
    around = [360.0 * i / views for i in range(views)]
    still = len(subject.times) == 1
    for moment in (0,) if still else (0, len(subject.times) // 2, len(subject.times) - 1):
        time = subject.times[moment]
        cameras = Cameras.orbit(around, elevation, size=size)
        film(f"turntable_time{float(time):.2f}", cameras, time.expand(views))
    for azimuth in () if still else (0.0, 90.0, 180.0):
        cameras = Cameras.orbit([azimuth] * len(subject.times), elevation, size=size)
        film(f"azimuth{azimuth:.0f}", cameras, subject.times)
    return files
