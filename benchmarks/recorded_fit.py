"""What a fit gains by CUDA graphs of its steps, and whether it stays the same.

    python benchmarks/recorded_fit.py RUN [--preset standard] [--iterations 300]

RUN: a run folder, or another with an image matrix in `matrix/`. The same fit is done with its steps recorded,
as `vid4d` does it on a CUDA card, and with every kernel started from Python: seconds of both in turns, and
the largest difference of what was fitted. Needs a CUDA card.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import PRESETS
from vid4d.gaussians.fit_recording import RecordedSteps
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.io import load_matrix

KINDS = {"as ever": lambda: None, "recorded": RecordedSteps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--preset", default="standard", choices=list(PRESETS))
    parser.add_argument("--iterations", type=int, help="those of the preset where not given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("CUDA graphs need a CUDA card, and there is none here")
    folder = options.run / "matrix" if (options.run / "matrix").is_dir() else options.run
    matrix, config = load_matrix(folder), replace(PRESETS[options.preset], seconds=None)
    config = replace(config, iterations=options.iterations or config.iterations)
    fitted: dict[str, Gaussians4D] = {}
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    print(f"{torch.cuda.get_device_name()}, {config.iterations} steps, median of {options.rounds} rounds")
    fit(matrix, replace(config, iterations=20), device="cuda")  # builds kernels
    for _ in range(options.rounds):
        for name, kind in KINDS.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            with mock.patch("vid4d.gaussians.fit.RecordedSteps", kind):
                began = time.perf_counter()
                fitted[name], report = fit(matrix, config, device="cuda")
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
            memory = torch.cuda.max_memory_reserved() / 2**30
            told = f"{report.input_psnr:.2f} dB, {report.splats} splats, {memory:.2f} GiB"
            print(f"{name}: {seconds[name][-1]:.2f} s, {told}", flush=True)
    ever, recorded = (statistics.median(seconds[name]) for name in KINDS)
    print(f"as ever {ever:.2f} s, recorded {recorded:.2f} s: {ever / recorded:.2f} times as fast")
    one, other = (fitted[name].tensors() for name in KINDS)
    same = all(x.shape == other[name].shape for name, x in one.items())
    apart = max(float((x - other[name]).abs().max()) for name, x in one.items()) if same else float("inf")
    print(f"largest difference: {apart:g}")


if __name__ == "__main__":
    main()
