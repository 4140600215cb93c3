"""Seconds, memory and quality of clips of several lengths at one rate of key frames.

    python benchmarks/long_clips.py [--seconds 2 8 32] [--rate 8] [--preset draft] [--out long_clips.json]
                                    [--work FOLDER]

The clip is the animal of `examples/make_hopper.py`, which hops now faster and now slower and turns to and
fro, so that no part of it comes again. Image matrix and fit run in processes of their own, so that the most
memory of each is known. The asset is judged from four sides at moments all over the clip, against renders of
the animal. A run that was stopped goes on (--work).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vid4d import load
from vid4d.cameras import Cameras
from vid4d.media.images import over
from vid4d.media.video import write_mp4
from vid4d.metrics import Sides, compare
from vid4d.training.mesh_render import fit_to_frame, render_meshes
from vid4d.training.meshes import MeshBank, MeshBatch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import make_hopper

FPS, SIZE = 16, 256
POSES = 48
"""Of one hop."""
GROUP = 8
"""Frames rendered at a time."""
AZIMUTHS = (0.0, 90.0, 180.0, 270.0)
MOMENTS = 16


def phase(second: float) -> float:
    """Hops done by then: 0.85 a second on average."""
    return 0.85 * second + 0.25 * math.sin(0.7 * second)


def heading(second: float) -> float:
    """Degrees that the animal has turned from the demo's direction."""
    return 35 * math.sin(0.9 * second) + 15 * math.sin(0.37 * second)


class Animal:
    """The animal at any second of a clip, placed as clips are framed; the camera is at azimuth 0."""

    def __init__(self, seconds: float) -> None:
        self.bank, self.seconds = MeshBank([make_hopper.hopper(POSES)]), seconds
        self.scale, self.shift = 1.0, torch.zeros(3)
        some = self.at(np.arange(0, seconds, max(1 / FPS, seconds / 96)))
        group = torch.zeros(some.objects, dtype=torch.long)
        camera = Cameras.orbit(0.0, make_hopper.ELEVATION, size=SIZE)
        placed = fit_to_frame(some, camera, group=group).vertices
        far = int((some.vertices - some.vertices[0]).norm(dim=1).argmax())
        lengths = [(v[far] - v[0]).norm() for v in (placed, some.vertices)]
        self.scale = float(lengths[0] / lengths[1])
        self.shift = placed[0] - self.scale * some.vertices[0]

    def at(self, seconds: np.ndarray) -> MeshBatch:
        """One object for each moment."""
        poses = torch.tensor([int(phase(s) * POSES) % POSES for s in seconds])
        batch = self.bank.batch(torch.zeros(len(poses), dtype=torch.long), poses)
        turn = torch.deg2rad(torch.tensor([heading(s) - make_hopper.AZIMUTH for s in seconds]))
        cos, sin = (f(turn)[batch.vertex_object].float() for f in (torch.cos, torch.sin))
        x, y, z = batch.vertices.unbind(1)
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y, z], 1)
        return replace(batch, vertices=self.scale * turned + self.shift)

    def views(self, second: float, cameras: Cameras) -> torch.Tensor:
        """RGBA that some cameras see."""
        owner = torch.zeros(len(cameras), dtype=torch.long)
        return render_meshes(self.at(np.array([second])), cameras, owner)

    def frames(self) -> Iterator[np.ndarray]:
        """The clip."""
        times = np.arange(round(self.seconds * FPS) + 1) / FPS
        for some in np.split(times, range(GROUP, len(times), GROUP)):
            cameras = Cameras.orbit([0.0] * len(some), make_hopper.ELEVATION, size=SIZE)
            rgba = render_meshes(self.at(some), cameras, torch.arange(len(some)))
            yield from over(rgba, torch.tensor(make_hopper.BACKGROUND)).numpy()


def quality(run: Path, animal: Animal) -> dict[str, float]:
    """Mean PSNR and mask IoU, of the clip's side and of the others."""
    asset = load(run)
    cameras = Cameras.orbit(AZIMUTHS, make_hopper.ELEVATION, size=128)
    times = (np.arange(MOMENTS) + 0.5) / MOMENTS
    seen = torch.stack([asset.render(cameras, float(t)).cpu() for t in times], 1)
    true = torch.stack([animal.views(t * asset.seconds, cameras) for t in times], 1)
    scores = compare(Sides(cameras, seen), Sides(cameras, true))
    return {
        f"{name}_{side}": round(float(scores[name][rows].mean()), 3)
        for name in ("psnr", "iou")
        for side, rows in (("clip", slice(0, 1)), ("others", slice(1, None)))
    }


def measured(seconds: float, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Makes clip and asset of a length, in processes of their own."""
    clip, run = work / f"long_{seconds:g}.mp4", work / f"run_{seconds:g}"
    animal = Animal(seconds)
    if not clip.exists():
        write_mp4(clip, animal.frames(), FPS)
    command = [sys.executable, "-m", "vid4d"]
    same = [str(clip), "--out", str(run), "--preset", options.preset, "--cyclic", "no", "--resume"]
    same += ["--key-frames-per-second", str(options.rate), "--elevation", str(make_hopper.ELEVATION)]
    memory = {}
    for name in ("matrix", "generate"):
        subprocess.run([*command, name, *same], check=True)
        stages = json.loads((run / "timings.json").read_text())["stages"]
        memory[name] = max(s["peak_memory_mib"]["host"] for s in stages.values())
    report = json.loads((run / "report.json").read_text())
    return {
        "seconds": seconds,
        "moments": report["frames"],
        "splats": report["splats"],
        "stages": {name: round(s["seconds"], 1) for name, s in stages.items()},
        "peak_mib": {name: s["peak_memory_mib"]["host"] for name, s in stages.items()},
        "player_mib": round((run / "player.html").stat().st_size / 2**20, 1),
        "input_psnr_db": report["input_psnr_db"],
        **quality(run, animal),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures clips of several lengths.")
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 8.0, 32.0])
    parser.add_argument("--rate", type=float, default=8.0)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = [measured(seconds, options, work) for seconds in options.seconds]
    for row in rows:
        print(json.dumps(row))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
