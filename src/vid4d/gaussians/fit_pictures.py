"""The pictures of each step of a fit: which ones, chosen by seed and step, and what they should look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import FIT_INPUT_FRAMES, FIT_PICTURES, Shuffled, epoch_generator, step_generator
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_targets import (
    ReferenceFrames,
    Windows,
    all_references,
    object_windows,
    visible_in_input,
)
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


class Choice(NamedTuple):
    """What is drawn for a step, on the device of the fit.

    view, when: of the batch. frames: number of a trusted camera, and a frame of it; none in steps without.
    between: a view, the frame before, and the share of the way to the next; None in steps without.
    """

    background: Float[Tensor, " 3"]
    view: Int[Tensor, " b"]
    when: Int[Tensor, " b"]
    frames: tuple[tuple[int, Int[Tensor, " 1"]], ...]
    between: tuple[Int[Tensor, " 1"], Int[Tensor, " 1"], Float[Tensor, " 1"]] | None


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

    def choose(self, step: int) -> Choice:
        """What a step compares: every picture of the matrix comes once an epoch, in random order.

        Of cameras that are trusted a frame of the clip, and one of the others, whose turns come one after the
        other.
        """
        c, m, random = self.config, self.matrix, step_generator(self.seed, step)
        numbers = torch.rand(3, generator=random)
        picture = torch.tensor([self.order[i] for i in range(step * c.batch, (step + 1) * c.batch)])
        places, cameras, between = [picture // m.frames, picture % m.frames], list[int](), False
        if self.trusted and c.input_weight > 0 and step % c.input_every == 0:
            turn, others = step // c.input_every, len(self.trusted) - 1
            cameras = [0, 1 + turn % others] if others else [0]
            turns = [turn, turn // others] if others else [turn]
            frames = [self.input_frames[k][at] for k, at in zip(cameras, turns, strict=True)]
            places.append(torch.tensor(frames))
        if self.pairs and c.interpolation_weight > 0 and step % c.interpolation_every == 0:
            between = True
            places.append(torch.randint(m.views, (1,), generator=random))
            places.append(torch.randint(self.pairs, (1,), generator=random))
            share = float(torch.rand(1, generator=random)) * 0.8 + 0.1
            numbers = torch.cat([numbers, torch.tensor([share])])
        # Two copies, for which nobody waits.
        numbers = numbers.to(m.images.device, non_blocking=True)
        view, when, *single = (
            torch.cat(places)
            .to(m.images.device, non_blocking=True)
            .split([c.batch, c.batch] + [1] * (len(cameras) + 2 * between))
        )
        return Choice(
            numbers[:3],
            view,
            when,
            tuple(zip(cameras, single, strict=False)),
            (single[-2], single[-1], numbers[3:]) if between else None,
        )

    def of(self, choice: Choice) -> list[Pictures]:
        """The pictures that were chosen, those of the matrix first. Reads nothing from the device."""
        m, background = self.matrix, choice.background
        view, when = choice.view, choice.when
        batch = pictures_of(
            m.images[view, when],
            m.cameras[view],
            m.times[when],
            background,
            confidence=self._confidence(view, when),
            windows=self.windows._replace(corner=self.windows.corner[view]),
        )
        return [
            batch,
            *(self._of_input(self.trusted[k], frame, background) for k, frame in choice.frames),
            *([] if choice.between is None else [self._between(*choice.between, background)]),
        ]

    def _of_input(
        self, trusted: ReferenceFrames, frame: Int[Tensor, " 1"], background: Float[Tensor, " 3"]
    ) -> Pictures:
        """A picture that a camera took."""
        return pictures_of(
            trusted.images[frame],
            trusted.camera,
            trusted.times[frame],
            background,
            weight=self.config.input_weight,
            windows=trusted.windows,
        )

    def _between(
        self,
        view: Int[Tensor, " 1"],
        before: Int[Tensor, " 1"],
        share: Float[Tensor, " 1"],
        background: Float[Tensor, " 3"],
    ) -> Pictures:
        """A picture of one of the matrix's views at a time between two frames."""
        m = self.matrix
        behind = (before + 1) % m.frames  # after the last frame of a loop comes its first
        one, other = self._confidence(view, before), self._confidence(view, behind)
        return pictures_between(
            m.images[view, before],
            m.images[view, behind],
            share,
            m.cameras[view],
            m.times[before].lerp(m.times[behind] + (behind < before).to(m.times), share),
            background,
            confidence=None if one is None or other is None else torch.minimum(one, other),
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
    share: Float[Tensor, " 1"],
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
