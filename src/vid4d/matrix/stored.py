"""An image matrix that stays in its folder: some moments of it are read at a time.

All moments of a long clip do not fit into memory. The folder is that of any matrix (`matrix/io.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vid4d.errors import InputError
from vid4d.matrix.descriptions import MatrixRecord, cameras_of, read_described
from vid4d.matrix.files import Picture, as_rgba, read_grey, read_picture, split_grid, stack
from vid4d.matrix.matrix import ImageMatrix


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix as `matrix.io` writes it. times, input_times: in [0, 1]. seconds: of the clip."""

    folder: Path
    described: MatrixRecord
    times: tuple[float, ...]
    input_times: tuple[float, ...]
    seconds: float
    cyclic: bool

    @property
    def frames(self) -> int:
        """Moments of the matrix."""
        return len(self.times)

    def part(self, moments: Sequence[int], inputs: Sequence[int]) -> ImageMatrix:
        """Some moments, in order, and some of the clip's frames. Raises InputError for damaged files."""
        images = torch.from_numpy(np.stack([self._strip("images", t) for t in moments], 1))
        confidence = None
        if self.described.confidence is not None:
            confidence = torch.from_numpy(np.stack([self._strip("confidence", t) for t in moments], 1))[
                ..., 0
            ]
        file, (height, width) = self.folder / "cameras.json", images.shape[2:4]
        pictures, camera, times = None, None, None
        if self.described.input is not None and inputs:
            frames = [as_rgba(read_picture(self.folder / "input" / f"{i:03d}.png")) for i in inputs]
            pictures = torch.from_numpy(stack(frames, self.folder))
            side = pictures.shape[2], pictures.shape[1]
            camera = cameras_of([self.described.input.camera], self.described, *side, file)
            times = torch.tensor([self.input_times[i] for i in inputs], dtype=torch.float32)
        return ImageMatrix(
            images=images,
            cameras=cameras_of(self.described.views, self.described, width, height, file),
            times=torch.tensor([self.times[t] for t in moments], dtype=torch.float32),
            confidence=confidence,
            input_images=pictures,
            input_camera=camera,
            input_times=times,
            seconds=self.seconds,
            cyclic=self.cyclic,
            of_moments=self.frames,
        )

    def overview(self, moments: int = 24, inputs: int = 64) -> ImageMatrix:
        """At most so many moments and frames of the clip, evenly chosen."""
        return self.part(_spread(self.frames, moments), _spread(len(self.input_times), inputs))

    def _strip(self, kind: str, moment: int) -> Picture:
        """All views of a moment."""
        file, views = self.folder / kind / f"{moment:03d}.png", len(self.described.views)
        picture = read_picture(file) if kind == "images" else read_grey(file)
        cells = split_grid(picture, views, 1, file)
        return stack([as_rgba(c) for c in cells] if kind == "images" else cells, self.folder)


def open_matrix(folder: str | os.PathLike[str]) -> StoredMatrix:
    """A matrix that `matrix.io` wrote, whose pictures stay in their files. Raises InputError for others."""
    path = Path(folder)
    described = read_described(path / "cameras.json")
    ours = described.images == "images/{time:03d}.png" and described.confidence in (
        None,
        "confidence/{time:03d}.png",
    )
    if not ours or described.times is None or described.seconds is None:
        raise InputError(f"{path} is no image matrix that vid4d wrote: load it as a whole")
    inputs = described.input
    return StoredMatrix(
        path,
        described,
        tuple(described.times),
        () if inputs is None else tuple(inputs.times),
        described.seconds,
        described.cyclic,
    )


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))}) if count else []
