"""What a fit gains by CUDA graphs of its steps, and whether it stays the same.

    python benchmarks/recorded_fit.py RUN [--preset standard] [--iterations 300]

RUN: a run folder, or another with an image matrix in `matrix/`. A step of a fit starts more than a hundred
kernels that work for half a millisecond together; recorded once, all of them start with one call. The same
fit is done as ever and with its steps recorded: seconds of both, and the largest difference of what was
fitted. Needs a CUDA card, on which nobody has run it yet; `vid4d` itself does not record steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.fit import FitState, fit
from vid4d.gaussians.fit_config import PRESETS
from vid4d.gaussians.fit_pictures import Choice
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.io import load_matrix

WARM = 2
"""Steps of a kind before it is recorded: they build kernels and tables."""

Done = tuple[Float[Tensor, ""], Bool[Tensor, ""] | None]


def tensors_of(choice: Choice) -> list[Tensor]:
    """All numbers of a choice, in an order."""
    frames = [frame for _, frame in choice.frames]
    return [choice.background, choice.view, choice.when, *frames, *(choice.between or ())]


def filled(choice: Choice, values: Iterator[Tensor]) -> Choice:
    """A choice of the same kind with other tensors, in the order of `tensors_of`."""
    background, view, when = next(values), next(values), next(values)
    frames = tuple((k, next(values)) for k, _ in choice.frames)
    between: Any = None if choice.between is None else tuple(next(values) for _ in choice.between)
    return Choice(background, view, when, frames, between)


@dataclass(frozen=True)
class Recording:
    """A step's kernels, where they read what was chosen, and where they leave the loss."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Done

    def replay(self, values: list[Tensor]) -> Done:
        for mine, given in zip(self.inputs, values, strict=True):
            mine.copy_(given)
        self.graph.replay()
        loss, complete = self.outputs
        return loss.clone(), complete


class RecordedFit(FitState):
    """A fit whose steps are recorded, one graph for each kind of step between two density controls."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pool, self._aside = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        self._epoch: tuple[object, ...] = ()
        self._recordings: dict[tuple[object, ...], Recording] = {}
        self._warm: dict[tuple[object, ...], int] = {}

    def _step(self, gaussians: Gaussians4D, choice: Choice, lr_scale: Float[Tensor, ""]) -> Done:
        """As `FitState._step`."""
        means = self.optimizer.parameters["means"]
        epoch = (len(means), means.data_ptr(), self.room.size, self.pictures.n_updates)
        if epoch != self._epoch:  # other splats, more room, another mask: what was recorded is of no use
            self._epoch = epoch
            self._recordings.clear()
            self._warm.clear()
        with_ssim = self.step % self.config.ssim_every == 0
        kind = (with_ssim, tuple(k for k, _ in choice.frames), choice.between is not None)
        if kind not in self._recordings:
            if self._warm.get(kind, 0) < WARM or self.room.size is None:
                self._warm[kind] = self._warm.get(kind, 0) + 1
                return self._beside(gaussians, choice, lr_scale)
            self._recordings[kind] = self._record(choice, lr_scale)
        return self._recordings[kind].replay([*tensors_of(choice), lr_scale])

    def _beside(self, gaussians: Gaussians4D, choice: Choice, lr_scale: Float[Tensor, ""]) -> Done:
        """A step on a stream of its own: autograd remembers where a leaf was first used."""
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            done = super()._step(gaussians, choice, lr_scale)
        torch.cuda.current_stream().wait_stream(self._aside)
        return done

    def _record(self, choice: Choice, lr_scale: Float[Tensor, ""]) -> Recording:
        """Nothing is computed here: recording only notes what is to be done."""
        inputs = [x.clone() for x in (*tensors_of(choice), lr_scale)]
        kept = filled(choice, iter(inputs))
        for parameter in self.optimizer.parameters.values():
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = super()._step(self.shown(), kept, inputs[-1])
        return Recording(graph, inputs, outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--preset", default="standard", choices=list(PRESETS))
    parser.add_argument("--iterations", type=int, help="those of the preset where not given")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("CUDA graphs need a CUDA card, and there is none here")
    folder = options.run / "matrix" if (options.run / "matrix").is_dir() else options.run
    matrix, config = load_matrix(folder), replace(PRESETS[options.preset], seconds=None)
    config = replace(config, iterations=options.iterations or config.iterations)
    fitted: dict[str, Gaussians4D] = {}
    print(f"{torch.cuda.get_device_name()}, {config.iterations} steps")
    for name in ("build", "as ever", "recorded"):
        kind = RecordedFit if name == "recorded" else FitState
        steps = 20 if name == "build" else config.iterations
        with mock.patch("vid4d.gaussians.fit.FitState", kind):
            began = time.perf_counter()
            fitted[name], report = fit(matrix, replace(config, iterations=steps), device="cuda")
            torch.cuda.synchronize()
        seconds, memory = time.perf_counter() - began, torch.cuda.max_memory_reserved() / 2**30
        psnr = report.input_psnr
        print(f"{name}: {seconds:.2f} s, {psnr:.2f} dB, {report.splats} splats, {memory:.2f} GiB", flush=True)
    ever, recorded = (fitted[name].tensors() for name in ("as ever", "recorded"))
    same = all(x.shape == recorded[name].shape for name, x in ever.items())
    apart = max(float((x - recorded[name]).abs().max()) for name, x in ever.items()) if same else float("inf")
    print(f"largest difference: {apart:g}")


if __name__ == "__main__":
    main()
