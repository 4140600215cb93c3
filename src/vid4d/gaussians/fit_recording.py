"""Steps of a fit as CUDA graphs: what a step does is recorded once and then played again.

A step starts some hundred kernels that work for less than a millisecond together, and starting them from
Python takes ten times as long. Nothing in a step waits for the device (`fit.FitState._step`), so all of it
can be played with one call; the numbers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.fit_pictures import Choice
from vid4d.kernels import on_device_of
from vid4d.kernels.cuda_graphs import Recording, aside, record

WARM_UP = 2
"""Steps of a kind that are done as ever before one is recorded: they build kernels and tables."""

Done = tuple[Float[Tensor, ""], Bool[Tensor, ""] | None]
"""Loss of a step, and whether it counts, on the device; None where that is not in question."""

Step = Callable[[Choice, Float[Tensor, ""], bool], Done]
"""A step with what was chosen for it, at this factor of the learning rates, with SSIM in its loss or not."""


class RecordedSteps:
    """Does steps on a graphics card, the first of each kind as ever, the others from a recording.

    Steps are of a kind that see the same cameras in the same number of pictures and have the same terms in
    their losses. Recordings read and write the tensors that a step did when it was recorded: `forget` them
    whenever one of these moves. What does the steps is given with each, so that it owns its recordings and
    takes them along when it goes.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self.forget()

    def forget(self) -> None:
        """Steps are recorded anew, from the next ones on."""
        self._recordings: dict[tuple[object, ...], Recording] = {}
        self._done: dict[tuple[object, ...], int] = {}
        self._pool: Any = None  # one that nothing uses any more is given back

    def __call__(
        self, step: Step, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool, *, recordable: bool
    ) -> Done:
        """A step. recordable: whether it asks nothing from the device from now on."""
        return on_device_of(lr_scale, lambda: self._play(step, choice, lr_scale, with_ssim, recordable))

    def _play(
        self, step: Step, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool, recordable: bool
    ) -> Done:
        kind = (with_ssim, tuple(camera for camera, _ in choice.frames), choice.between is not None)
        if kind not in self._recordings:
            done = self._done.get(kind, 0)
            if not recordable or done < WARM_UP:
                self._done[kind] = done + recordable
                return self._as_ever(step, choice, lr_scale, with_ssim)
            self._recordings[kind] = self._record(step, choice, lr_scale, with_ssim)
        loss, complete = self._recordings[kind].replay([*choice_tensors(choice), lr_scale])
        return loss, complete

    def _as_ever(self, step: Step, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool) -> Done:
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        with aside(self._stream):
            return step(choice, lr_scale, with_ssim)

    def _record(self, step: Step, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool) -> Recording:
        def done(*values: Tensor) -> tuple[Tensor, ...]:
            loss, complete = step(with_tensors(choice, values[:-1]), values[-1], with_ssim)
            if complete is None:
                raise RuntimeError("a step that asks nothing from the device tells on it whether it counts")
            return loss, complete

        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return record(done, [*choice_tensors(choice), lr_scale], self._pool)


def choice_tensors(choice: Choice) -> list[Tensor]:
    """All numbers of a choice, in an order."""
    frames = [frame for _, frame in choice.frames]
    return [choice.background, choice.view, choice.when, *frames, *(choice.between or ())]


def with_tensors(choice: Choice, values: Sequence[Tensor]) -> Choice:
    """A choice of the same kind with other numbers, in the order of `choice_tensors`."""
    background, view, when, *rest = values
    frames = tuple((camera, frame) for (camera, _), frame in zip(choice.frames, rest, strict=False))
    if choice.between is None:
        return Choice(background, view, when, frames, None)
    of_view, before, share = rest[len(frames) :]
    return Choice(background, view, when, frames, (of_view, before, share))
