"""Pictures of other tools: a folder, or a video, per view."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.seen import FILED, KEYED, Moments, Report, Seen, at_size, chosen_moments
from vid4d.files.paths import natural_order
from vid4d.matrix.files import as_rgba, check_room, pictures_in, read_picture, read_video, stack
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import as_floats, to_uint8

VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")
SAME_SIDE = 0.5
"""Degrees by which two cameras of one view may differ."""


@dataclass(frozen=True)
class ViewFiles:
    """Pictures that lie in a folder per view, or in a video per view, in natural order.

    views: of each view its picture files in order, or its one video.
    """

    views: tuple[tuple[Path, ...], ...]
    kind: str = "pictures"

    @property
    def files(self) -> list[Path]:
        return [file for view in self.views for file in view]

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """The pictures, at the cameras' size. Raises InputError where views or moments differ."""
        if len(self.views) != len(cameras):
            raise InputError(
                f"{self.views[0][0].parent} is one of {len(self.views)} views and the truth has "
                f"{len(cameras)}: give a folder or a video for each view of the truth, in their order"
            )
        colors, whites, alphas = [], [], set()
        for done, view in enumerate(self.views):
            rgba, white = read_view(view, moments, how, cameras.width)
            check_room(view[0].parent, rgba.nbytes * 2 * len(self.views))
            colors.append(rgba)
            whites.append(white)
            alphas.add(white is None)
            if report is not None:
                report(done + 1, len(self.views))
        if len(alphas) > 1:
            raise InputError(
                f"{self.views[0][0].parent.parent} has views with and without alpha: make them alike"
            )
        where = self.views[0][0].parent.parent
        known = [w for w in whites if w is not None]
        return Seen(stack(colors, where), KEYED if known else FILED, stack(known, where) if known else None)


def read_view(
    view: tuple[Path, ...], moments: Moments, how: str, width: int
) -> tuple[UInt8[np.ndarray, "t h w 4"], UInt8[np.ndarray, "t h w 3"] | None]:
    """The pictures of one view with alpha, and their colors as they came where they came without one."""
    if view[0].suffix.lower() in VIDEOS:
        frames, _ = read_video(view[0])
        picked = [frames[i] for i in chosen_moments(len(frames), None, moments, str(view[0]))]
    else:
        order = chosen_moments(len(view), None, moments, str(view[0].parent))
        picked = [read_picture(view[i]) for i in order]
    came = to_uint8(stack(picked, view[0].parent))
    if came.shape[-1] == 4:
        return at_size(came, width, how), None
    came = at_size(came, width, how)
    keyed = [as_rgba(as_floats(p)) for p in came]
    return to_uint8(stack(keyed, view[0].parent)), came


@dataclass(frozen=True)
class MatrixPictures:
    """An image matrix: pictures with cameras."""

    matrix: ImageMatrix
    files: list[Path]
    kind: str = "image matrix"

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """The pictures, at the cameras' size. Raises InputError where views or moments differ."""
        own = self.matrix.cameras
        where = self.files[0].parent
        if len(own) != len(cameras):
            raise InputError(
                f"{where} has {len(own)} views and the truth {len(cameras)}: make the truth's views"
            )
        turned = (own.rotation @ cameras.rotation.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        apart = ((turned.clamp(-1, 3) - 1) / 2).acos().rad2deg()
        if bool((apart > SAME_SIDE).any()):
            view = int(apart.argmax())
            raise InputError(
                f"{where} sees view {view} from azimuth {float(own.azimuth[view]):.1f}, elevation "
                f"{float(own.elevation[view]):.1f}, the truth from {float(cameras.azimuth[view]):.1f}, "
                f"{float(cameras.elevation[view]):.1f}: make the truth's views"
            )
        order = chosen_moments(self.matrix.frames, self.matrix.times.tolist(), moments, str(where))
        views = [
            at_size(to_uint8(self.matrix.images[v, order]), cameras.width, how) for v in range(len(cameras))
        ]
        if report is not None:
            report(len(views), len(views))
        return Seen(stack(views, where), FILED)


def view_files(folder: Path) -> ViewFiles | None:
    """A folder of views: folders of pictures, or videos, or one view's pictures. None for anything else."""
    inside = natural_order(p for p in folder.iterdir() if not p.name.startswith("."))
    folders = [pictures_in(p) for p in inside if p.is_dir()]
    if folders and all(folders):
        return ViewFiles(tuple(tuple(f) for f in folders))
    videos = [p for p in inside if p.suffix.lower() in VIDEOS]
    if videos:
        return ViewFiles(tuple((v,) for v in videos), "videos")
    pictures = pictures_in(folder)
    return ViewFiles((tuple(pictures),)) if pictures else None


def numbered_views(folder: Path, names: Sequence[Path]) -> ViewFiles:
    """Views eval_0, eval_1, ... of the test set of Consistent4D, whose pictures are numbered."""
    views = []
    for name in names:
        pictures = pictures_in(name)
        if not pictures or any(not re.fullmatch(r"\d+", p.stem) for p in pictures):
            raise InputError(f"{name} has to hold pictures named by their numbers (0.png, 1.png, ...)")
        views.append(tuple(sorted(pictures, key=lambda p: int(p.stem))))
    if len({len(v) for v in views}) > 1:
        raise InputError(f"{folder} has views with different numbers of pictures: complete them")
    return ViewFiles(tuple(views))
