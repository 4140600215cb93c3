"""The demo's asset through `vid4d evaluate`, in all forms it can take: the numbers of docs/evaluation.md.

    python benchmarks/evaluation.py runs/demo --work DIR [--moments 24]

The asset itself, a PLY sequence of it, its renders as pictures of each view, and an animated mesh of it are
held against the truth that examples/make_hopper.py writes. The first three show the same thing and have to
have the same numbers; what is left between them is rounding.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from PIL import Image

from vid4d import load
from vid4d.evaluation.evaluate import evaluate
from vid4d.evaluation.judged import open_judged
from vid4d.evaluation.measure import DIGITS, NAMES
from vid4d.evaluation.protocol import PROTOCOLS
from vid4d.evaluation.result import Result, table, to_json
from vid4d.evaluation.truth import truths
from vid4d.files.write import write_json
from vid4d.runs.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import make_hopper


def write_views(run: Path, truth: Path, out: Path) -> Path:
    """The asset's renders as another tool would leave them: a folder of RGBA pictures per view."""
    (one,) = truths(truth).values()
    seen = open_judged(run, device="cpu").seen(one.cameras, one.moments)
    for v, view in enumerate(seen.rgba):
        (out / f"view_{v:02}").mkdir(parents=True, exist_ok=True)
        for t, picture in enumerate(view):
            Image.fromarray(picture).save(out / f"view_{v:02}" / f"{t:03}.png")
    return out


def forms(results: dict[str, Result]) -> str:
    """A line for each form, with the digits that show how equal they are."""
    names = [n for n in NAMES if any(n in r.mean for r in results.values())]
    lines = ["| | " + " | ".join(NAMES[n] for n in names) + " |", "|---" * (len(names) + 1) + "|"]
    for form, result in results.items():
        shown = ["" if (v := result.mean.get(n)) is None else f"{v:.{DIGITS.get(n, 3) + 1}f}" for n in names]
        lines.append(f"| {form} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder made of the example clip")
    parser.add_argument("--work", type=Path, required=True, help="folder for truth, exports and results")
    parser.add_argument("--moments", type=int, default=24, help="of the exports")
    options = parser.parse_args()
    work: Path = options.work
    truth = work / "hopper_truth"
    if not truth.is_dir():
        make_hopper.write_truth(truth)
    asset = load(options.run, "cpu")
    if not (work / "splats").is_dir():
        asset.export("ply", work / "splats", frames=options.moments)
    if not (work / "mesh.glb").is_file():
        asset.export("glb", work / "mesh.glb", frames=options.moments)
    judged = {
        "run folder": options.run,
        "PLY sequence": work / "splats",
        "pictures of each view": write_views(options.run, truth, work / "views"),
        "animated GLB": work / "mesh.glb",
    }
    results = {}
    for form, path in judged.items():
        began = time.monotonic()
        with Progress(quiet=True) as progress:
            results[form] = evaluate(path, truth, PROTOCOLS["strict"], device="cpu", stage=progress.stage)
        write_json(work / f"{form.replace(' ', '_')}.json", to_json(results[form]))
        print(f"{form}: {time.monotonic() - began:.0f} s", flush=True)
    print("\n" + table(results["run folder"]))
    print("\n" + forms(results))


if __name__ == "__main__":
    main()
