"""Steps of a fit as CUDA graphs: what a step does is recorded once and then played again.

A step starts some hundred kernels that work for less than a millisecond together, and starting them from
Python takes ten times as long. Nothing in a step waits for the device (`fit.FitState._step`), so all of it
can be played with one call; the numbers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.fit_pictures import Choice
from vid4d.kernels.cuda_graphs import Recorder

Done = tuple[Float[Tensor, ""], Bool[Tensor, ""] | None]
"""Loss of a step, and whether it counts, on the device; None where that is not in question."""

Step = Callable[[Choice, Float[Tensor, ""], bool], Done]
"""A step with what was chosen for it, at this factor of the learning rates, with SSIM in its loss or not."""


class RecordedSteps:
    """Does steps on a graphics card, the first of each kind as ever, the others from a recording.

    Steps are of a kind that see the same cameras in the same number of pictures and have the same terms in
    their losses. `forget` recordings whenever a tensor moves that a step reads or changes.
    """

    def __init__(self) -> None:
        self._recorder = Recorder()

    def forget(self) -> None:
        """Steps are recorded anew, from the next ones on."""
        self._recorder.forget()

    def __call__(
        self, step: Step, choice: Choice, lr_scale: Float[Tensor, ""], with_ssim: bool, *, recordable: bool
    ) -> Done:
        """A step. recordable: whether it asks nothing from the device from now on."""
        kind = (with_ssim, tuple(camera for camera, _ in choice.frames), choice.between is not None)

        def done(*values: Tensor) -> tuple[Tensor, ...]:
            loss, complete = step(with_tensors(choice, values[:-1]), values[-1], with_ssim)
            if complete is not None:
                return loss, complete
            if recordable:
                raise RuntimeError("a step that asks nothing from the device tells on it whether it counts")
            return (loss,)

        loss, *complete = self._recorder(
            kind, done, [*choice_tensors(choice), lr_scale], recordable=recordable
        )
        return loss, complete[0] if complete else None


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
