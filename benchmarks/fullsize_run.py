"""One clip to asset with a prior of the authors' size, stage by stage; random weights: no claim of quality.

    python benchmarks/fullsize_run.py CLIP                      # a CUDA card
    python benchmarks/fullsize_run.py CLIP --devices 1 2 --presets standard high
    python benchmarks/fullsize_run.py CLIP --tiny --device cpu  # anywhere, in minutes: does this script run?

Weights that nobody trained are written in the form that `vid4d weights` leaves (2.5 GB of disk, thrown away
at the end), and `vid4d generate --prior syncdreamer` takes them from there, each run a program of its own.
Every row is the median of `--rounds` runs, after one that builds kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from prior_speed import random_prior
from safetensors.torch import save_file

from vid4d.priors.syncdreamer import CONFIGS
from vid4d.priors.weights.files import config_to_json

STAGES = ("frames", "matrix", "fit", "turntable", "report")


def write_weights(folder: Path, tiny: bool, device: str) -> None:
    """A SyncDreamer as `vid4d weights convert` leaves it, its numbers random."""
    network = random_prior("syncdreamer", tiny, device, torch.float32 if tiny else torch.bfloat16)
    metadata = {
        "format": "pt",
        "kind": "syncdreamer",
        "config": config_to_json(CONFIGS["tiny" if tiny else "syncdreamer"]),
    }
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "syncdreamer.safetensors", metadata)


def run(clip: Path, out: Path, weights: Path, device: str, devices: int, preset: str) -> dict[str, float]:
    """Seconds of a run's stages, and of all."""
    command = [sys.executable, "-m", "vid4d", "generate", str(clip), "--out", str(out), "--device", device]
    command += ["--prior", "syncdreamer", "--preset", preset, "--devices", str(devices)]
    environment = os.environ | {"VID4D_WEIGHTS": str(weights)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    timings = json.loads((out / "timings.json").read_text())
    return {stage: timings["stages"][stage]["seconds"] for stage in STAGES} | {"all": timings["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--devices", type=int, nargs="+", default=[1])
    parser.add_argument("--presets", nargs="+", default=["standard"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a network of the smallest size")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("this needs an NVIDIA card; --tiny --device cpu runs anywhere")
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    print(f"{name}, torch {torch.__version__}, {args.clip.name}, SyncDreamer{' (tiny)' * args.tiny}")
    print("cards  preset    " + "".join(f"{stage:>10}" for stage in (*STAGES, "all")))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder)
        write_weights(weights, args.tiny, args.device)
        count = 0
        for devices in args.devices:
            for preset in args.presets:
                rows = []
                for _ in range(args.rounds + 1):
                    count += 1
                    out = weights / f"run{count}"
                    rows.append(run(args.clip, out, weights, args.device, devices, preset))
                seconds = [statistics.median(row[stage] for row in rows[1:]) for stage in (*STAGES, "all")]
                print(f"{devices:5}  {preset:9} " + "".join(f"{s:10.1f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
