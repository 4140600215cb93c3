"""Objects a second that the training of the frustum prior draws and learns from, and what each part takes.

    python benchmarks/training_speed.py MODELS [--batch 128] [--made-up 200] [--runs 7] [--device cuda]

MODELS: a folder of model shards (docs/training.md). Median milliseconds of: drawing a batch with the Triton
kernels and with plain torch in their place; the network forward; the whole loss, forward and backward. Two
steps share a drawn batch. Without compiling, so that it takes a minute; `vid4d train` compiles the network.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vid4d import kernels
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume
from vid4d.training.frustum import FrustumLossConfig, FrustumSource, frustum_loss
from vid4d.training.stages import STAGES
from vid4d.training.train import TrainOptions, view_source
from vid4d.training.trainer import SideStream


def milliseconds(device: torch.device, runs: int, work: Callable[[], object]) -> float:
    """Median of several runs, after one that is not counted."""
    spent = []
    for _ in range(runs + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append((time.perf_counter() - began) * 1e3)
    return statistics.median(spent[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--made-up", type=int, default=200, help="things beside the models")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    stage = STAGES["frustum"]
    given = TrainOptions("frustum", options.folder, Path("unused"), made_up=options.made_up)
    network = FrustumVolume(FrustumConfig(gated=True)).to(device)
    source = FrustumSource(view_source(given, device, stage), network.config, FrustumLossConfig())

    def fresh() -> object:
        source.last = None  # not the mirror image of the batch before
        return source.draw(options.batch)

    print(f"{device}, {options.batch} objects, {len(source.source.bank)} models, median of {options.runs}")
    drawing = {}
    for name, on in (("Triton kernels", True), ("plain torch", False)):
        if on and not kernels.available(source.voxels):
            continue
        kernels.enabled = on
        drawing[name] = milliseconds(device, options.runs, fresh)
        print(f"drawing, {name}: {drawing[name]:.1f} ms")
    kernels.enabled = True
    batch = source.draw(options.batch)
    step = frustum_loss(network, SideStream(lambda: batch, device), device)

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            network(batch.picture, torch.zeros(options.batch, device=device))

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        step(0)[0].backward()

    print(f"network, forward: {milliseconds(device, options.runs, forward):.1f} ms")
    loss = milliseconds(device, options.runs, learn)
    print(f"loss, forward and backward: {loss:.1f} ms")
    for name, drawn in drawing.items():
        rate = options.batch / (loss + drawn / 2) * 1e3
        share = drawn / 2 / (loss + drawn / 2)
        print(f"objects a second, optimiser aside, {name}: {rate:.0f}; drawing is {share:.0%}")


if __name__ == "__main__":
    main()
