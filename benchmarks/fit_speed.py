"""Milliseconds of a step of the fit of 4D Gaussians, and where they go.

    python benchmarks/fit_speed.py RUN [--device cuda] [--threads 2] [--preset standard] [--profile]
    python benchmarks/fit_speed.py RUN --beside CHECKOUT

RUN: a run folder, or another with an image matrix in `matrix/`. The fit is begun as `vid4d generate` does and
its steps are timed: processor time of all threads, which other work on the machine hardly changes, and wall
time, each the median of rounds of 20 steps. The peer on a processor is the same fit with covariances by torch
instead of the C kernel; rounds of both take turns. --profile: what every operation takes, of 20 steps.
--beside: a folder with another commit (`git worktree add CHECKOUT COMMIT`), whose rounds take turns with this
one's, in a process of its own; the peer is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch.profiler import ProfilerActivity, profile

from vid4d.compute.machine import cpu_name
from vid4d.gaussians.fit import FitState
from vid4d.gaussians.fit_config import PRESETS
from vid4d.gaussians.fit_targets import resize_matrix
from vid4d.gaussians.model import Gaussians4D, rotation4d
from vid4d.gaussians.raster import cpu
from vid4d.matrix.io import load_matrix

STEPS, EARLY = 20, 0.05
"""Steps of a round, and the share of the schedules at which they are done: before splats are split."""


class TorchShape:
    """Covariances as the model has them, in place of the C kernel's."""

    @staticmethod
    def apply(log_scales: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        factor = rotation4d(left, right) * log_scales.exp()[:, None, :]
        return factor @ factor.transpose(1, 2)


def a_round(state: FitState) -> tuple[float, float]:
    """Milliseconds a step: of the processor, and on the clock."""
    before, began = time.process_time(), time.perf_counter()
    for _ in range(STEPS):
        state.advance(EARLY)
    if state.matrix.images.is_cuda:
        torch.cuda.synchronize()
    return (time.process_time() - before) / STEPS * 1e3, (time.perf_counter() - began) / STEPS * 1e3


class Beside:
    """The same fit by another checkout's source, in a process that does a round whenever it is asked."""

    def __init__(self, checkout: Path) -> None:
        if not (checkout / "src" / "vid4d").is_dir():
            raise SystemExit(f"{checkout} is no checkout: there is no src/vid4d in it")
        places = [str(checkout.resolve() / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        path = {"PYTHONPATH": os.pathsep.join(places)}
        command = [sys.executable, __file__, *sys.argv[1:], "--answer"]
        self.process = subprocess.Popen(
            command, env=os.environ | path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def a_round(self) -> tuple[float, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        processor, clock = self.process.stdout.readline().split()
        return float(processor), float(clock)

    def end(self) -> None:
        self.process.communicate()


def answer(state: FitState) -> None:
    """A round for every line that comes."""
    for _ in sys.stdin:
        print(*a_round(state), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", choices=list(PRESETS), default="standard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = PRESETS[options.preset]
    matrix = resize_matrix(load_matrix(options.run / "matrix"), config.size, options.device)
    state = FitState(matrix, config, seed=0)
    if options.answer:
        answer(state)
        return
    other = None if options.beside is None else Beside(options.beside)
    with_peer = other is None and options.device == "cpu" and not cpu.obstacle()
    names = ["as it is"] + ["covariances by torch"] * with_peer + ["beside"] * (other is not None)
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(options.rounds + 1):
        for name, measured in rounds.items():
            if other is not None and name == "beside":
                one = other.a_round()
            else:
                shape = cpu._Shape if name == names[0] else TorchShape
                with mock.patch.object(cpu, "_Shape", shape):
                    one = a_round(state)
            if number:  # the first is a warm-up
                measured.append(one)
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else cpu_name()
    splats: Gaussians4D = state.gaussians()
    print(f"{where}, {options.threads} threads, torch {torch.__version__}")
    print(f"{len(splats)} splats, {config.size} px, median of {options.rounds} rounds of {STEPS} steps")
    for name, measured in rounds.items():
        processor, clock = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{name}: {processor:.1f} ms of the processor a step, {clock:.1f} ms on the clock")
    if other is not None:
        other.end()
    if options.profile:
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * options.device.startswith("cuda")
        with profile(activities=kinds) as profiled:
            a_round(state)
        order = "self_cuda_time_total" if options.device.startswith("cuda") else "self_cpu_time_total"
        print(profiled.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=60))


if __name__ == "__main__":
    main()
