"""The pictures of each step of a fit: which ones, chosen by seed and step, and what they should look like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import FIT_INPUT_FRAMES, FIT_PICTURES, Shuffled, epoch_generator, step_generator
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_targets import Windows, all_references, object_windows, visible_in_input
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over


@dataclass(frozen=True)
class Pictures:
    """Pictures that a step renders, and what they should look like.

    times: clip time of each. background: behind all of them. rgb: colors, over the background.
    low, high: what their opacity may lie between.
    confidence: of the colors, pixel by pixel; None is 1. weight: of all of them in the loss.
    windows: where SSIM is taken, too, if anywhere.
    """

    cameras: Cameras
    times: Float[Tensor, " b"]
    background: Float[Tensor, " 3"]
    rgb: Float[Tensor, "b h w 3"]
    low: Float[Tensor, "b h w"]
    high: Float[Tensor, "b h w"]
    confidence: Float[Tensor, "b h w"] | None = None
    weight: float = 1.0
    windows: Windows | None = None


class StepPictures:
    """Draws the pictures of steps: of the matrix, of cameras that are trusted, and between two frames.

    visible_in_input, n_updates: which of the matrix's pixels a trusted camera sees, too, and how often that
        was looked up. They belong to a checkpoint; everything else follows from the arguments.
    """

    def __init__(self, matrix: ImageMatrix, config: FitConfig, seed: int) -> None:
        self.matrix, self.config, self.seed = matrix, config, seed
        references = all_references(matrix)
        self.reference = references[0]
        self.trusted = [r for r in references if r.from_input]
        self.pairs = 0 if matrix.frames == 1 else matrix.frames - (not matrix.cyclic)
        self.order = Shuffled(
            matrix.views * matrix.frames, lambda epoch: epoch_generator(seed, epoch, FIT_PICTURES)
        )
        self.input_frames = [
            Shuffled(len(r.times), lambda epoch: epoch_generator(seed, epoch, FIT_INPUT_FRAMES))
            for r in self.trusted
        ]
        self.windows = object_windows(matrix.images[..., 3])
        self.visible_in_input: Bool[Tensor, "v t h w"] | None = None
        self.n_updates = 0

    def due(self, progress: float) -> bool:
        """True when which surfaces the video shows is to be looked up again. progress: share of the fit."""
        c = self.config
        wanted = bool(self.trusted) and c.observed_color_weight != 1
        return wanted and sum(progress >= at for at in c.visibility_updates) > self.n_updates

    def look(self, gaussians: Gaussians4D) -> None:
        """Looks up which of the matrix's surfaces the video shows, as far as the splats are right."""
        self.visible_in_input = visible_in_input(gaussians, self.matrix, self.trusted)
        self.n_updates += 1

    def of(self, step: int) -> list[Pictures]:
        """What a step renders and compares: first of all the batch of the matrix."""
        c, random = self.config, step_generator(self.seed, step)
        background = self._moved(torch.rand(3, generator=random))
        asked = [self._batch(step, background)]
        if self.trusted and c.input_weight > 0 and step % c.input_every == 0:
            asked += self._of_input(step // c.input_every, background)
        if self.pairs and c.interpolation_weight > 0 and step % c.interpolation_every == 0:
            asked.append(self._between(random, background))
        return asked

    def _moved(self, x: Tensor) -> Tensor:
        """x on the device of the fit, for which nobody waits."""
        return x.to(self.matrix.images.device, non_blocking=True)

    def _batch(self, step: int, background: Float[Tensor, " 3"]) -> Pictures:
        """Pictures of the matrix: every one comes once an epoch, in random order."""
        m, size = self.matrix, self.config.batch
        picture = torch.tensor([self.order[i] for i in range(step * size, (step + 1) * size)])
        view, when = picture // m.frames, picture % m.frames
        windows = self.windows._replace(corner=self.windows.corner[view])
        view, when = self._moved(view), self._moved(when)
        return pictures_of(
            m.images[view, when],
            m.cameras[view],
            m.times[when],
            background,
            confidence=self._confidence(view, when),
            windows=windows,
        )

    def _of_input(self, turn: int, background: Float[Tensor, " 3"]) -> list[Pictures]:
        """A frame of the clip, and one of the other cameras, whose turns come one after the other."""
        frames = [(self.trusted[0], self.input_frames[0][turn])]
        if others := len(self.trusted) - 1:
            which = 1 + turn % others
            frames.append((self.trusted[which], self.input_frames[which][turn // others]))
        weight = self.config.input_weight
        return [
            pictures_of(
                r.images[i : i + 1],
                r.camera,
                r.times[i : i + 1],
                background,
                weight=weight,
                windows=r.windows,
            )
            for r, i in frames
        ]

    def _between(self, random: torch.Generator, background: Float[Tensor, " 3"]) -> Pictures:
        """A picture of one of the matrix's views at a time between two frames."""
        m = self.matrix
        view = self._moved(torch.randint(m.views, (1,), generator=random))
        i = self._moved(torch.randint(self.pairs, (1,), generator=random))
        j = (i + 1) % m.frames  # after the last frame of a loop comes its first
        share = float(torch.rand(1, generator=random)) * 0.8 + 0.1
        before, after = self._confidence(view, i), self._confidence(view, j)
        return pictures_between(
            m.images[view, i],
            m.images[view, j],
            share,
            m.cameras[view],
            m.times[i].lerp(m.times[j] + (j < i).to(m.times), share),
            background,
            confidence=None if before is None or after is None else torch.minimum(before, after),
            weight=self.config.interpolation_weight,
        )

    def _confidence(self, view: Int[Tensor, " b"], when: Int[Tensor, " b"]) -> Float[Tensor, "b h w"] | None:
        """The matrix's (section 3.3), lower where the video itself shows the surface; None is 1."""
        stored = self.matrix.confidence
        confidence = None if stored is None else stored[view, when]
        if self.visible_in_input is None:
            return confidence
        weight = torch.where(self.visible_in_input[view, when], self.config.observed_color_weight, 1.0)
        return weight if confidence is None else confidence * weight


def pictures_of(
    images: Float[Tensor, "b h w 4"],
    cameras: Cameras,
    times: Float[Tensor, " b"],
    background: Float[Tensor, " 3"],
    *,
    confidence: Float[Tensor, "b h w"] | None = None,
    weight: float = 1.0,
    windows: Windows,
) -> Pictures:
    """Pictures that are known (RGBA, straight alpha): the splats should look just so."""
    mask, rgb = images[..., 3], over(images, background)
    return Pictures(cameras, times, background, rgb, mask, mask, confidence, weight, windows)


def pictures_between(
    first: Float[Tensor, "b h w 4"],
    second: Float[Tensor, "b h w 4"],
    share: float,
    cameras: Cameras,
    times: Float[Tensor, " b"],
    background: Float[Tensor, " 3"],
    *,
    confidence: Float[Tensor, "b h w"] | None = None,
    weight: float = 1.0,
) -> Pictures:
    """Pictures at times between two frames, this share of the way from the first.

    No frame tells how splats should fade into each other there. Where both neighbours in time show the
    object, it is there, in about their colors; where neither does, it is not; elsewhere anything goes.
    """
    low = torch.minimum(first[..., 3], second[..., 3])
    high = torch.maximum(first[..., 3], second[..., 3])
    color = first[..., :3].lerp(second[..., :3], share)
    rgb = over(torch.cat([color, low[..., None]], -1), background)
    sure = 1 - (high - low)
    confidence = sure if confidence is None else sure * confidence
    return Pictures(cameras, times, background, rgb, low, high, confidence, weight)
