"""Two runs of a clip side by side in a browser, cameras and time linked; and their numbers.

    python examples/05_compare_two_runs.py runs/draft runs/standard

What `vid4d view A B` does, from Python.
"""

from __future__ import annotations

import json
from pathlib import Path

import tyro
from tyro.conf import Positional

from vid4d.viewer import Viewer


def main(runs: Positional[tuple[Path, ...]], port: int = 8080, wait: bool = True) -> str:
    """runs: run folders. port: of the page; 0 takes any free one. wait: until Ctrl-C. Returns the address."""
    for run in runs:
        report = json.loads((run / "report.json").read_text())
        likeness = "unknown" if report["input_psnr_db"] is None else f"{report['input_psnr_db']:.1f} dB"
        print(f"{run}: {report['splats']} splats, likeness to the clip {likeness}")
    with Viewer(runs, port=port) as viewer:
        print(f"look at {viewer.url} (Ctrl-C ends it)")
        if wait:
            viewer.wait()
        return viewer.url


if __name__ == "__main__":
    tyro.cli(main)
