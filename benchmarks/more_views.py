"""What other cameras and finished objects are worth: the demo's clip with more and more that is known.

    python benchmarks/more_views.py runs/more_views [--preset draft] [--picture more_views.jpg]

The example's animal is known from all sides (`examples/make_hopper.py`), so the clip of another camera,
pictures of other sides, and the object of its first moment as a GLB can be made. Each row is a run of the
clip with some of them, judged as `demo_truth.py` judges: means over all directions but its own. Finished runs
in the folder are judged again, not made again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import demo_truth
import numpy as np
from PIL import Image

import vid4d
from vid4d.export.glb import glb_bytes
from vid4d.media.images import over_white
from vid4d.media.video import write_mp4
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.report.contact import draw_sheet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import make_hopper

CLIP = Path(__file__).resolve().parents[1] / "examples" / "hopper.mp4"
SHOWN = (demo_truth.FRAMED, "iou", "f_score", "color", "ssim")
FRAME = 2
"""Which of the truth's moments the picture shows."""


def write_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """Makes the other camera's clip, the pictures and the GLB; name of a row -> settings of its run."""
    folder.mkdir(parents=True, exist_ok=True)
    side = make_hopper.pictures(make_hopper.AZIMUTH + 90).numpy()
    write_mp4(folder / "side.mp4", side, make_hopper.FPS)
    for name, turn in (("right", 90), ("back", 180)):
        picture = make_hopper.pictures(make_hopper.AZIMUTH + turn)[0].numpy()
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(folder / f"{name}.png")
    first = MeshSequence((0.0,), make_hopper.moving_mesh().meshes[:1])
    (folder / "first.glb").write_bytes(glb_bytes(first, seconds=1.0, cyclic=False))
    return {
        "the clip alone": {},
        "`--also` a picture of the back": {"also": (f"{folder / 'back.png'}@180",)},
        "`--also` pictures of the right and the back": {
            "also": (f"{folder / 'right.png'}@90", f"{folder / 'back.png'}@180")
        },
        "`--also` a clip from the right": {"also": (f"{folder / 'side.mp4'}@90",)},
        "`--canonical` the first moment's GLB": {"canonical": str(folder / "first.glb")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where inputs and runs are kept")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--picture", type=Path, help="a row of renders for each, the truth below")
    options = parser.parse_args()
    header = ["", *(demo_truth.NAMES[name] for name in SHOWN), "clip (dB)"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    lines = []
    for i, (name, settings) in enumerate(write_inputs(options.folder / "inputs").items()):
        run = options.folder / f"{options.preset}_{i}"
        done = (run / ".done" / "report").is_file()
        asset = (
            vid4d.load(run)
            if done
            else vid4d.generate(CLIP, out=run, resume=run.exists(), preset=options.preset, **settings)
        )
        scores = demo_truth.scores_of(asset.gaussians)
        cells = [f"{float(scores[n][1:].nanmean()):.{2 if n == 'color' else 3}f}" for n in SHOWN]
        cells.append(f"{float(scores['psnr'][0]):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        seen, truth = demo_truth.seen_and_true(asset.gaussians)
        lines.append((str(i), "", list(over_white(seen.rgba[:, FRAME]).numpy())))
    if options.picture:
        lines.append(("truth", "", list(over_white(truth.rgba[:, FRAME]).numpy())))
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(lines, [f"{t:g}°" for t in demo_truth.TURNS], 128).save(options.picture)


if __name__ == "__main__":
    main()
