"""How fast the live viewer opens and scrubs.

    python benchmarks/viewer.py [RUN] [--splats 20000] [--seconds 2.67]

RUN: a run folder; where none is given, the splats of benchmarks/export.py, all of them there at all times.
The page is opened in a headless Chromium without a GPU: it draws in software, on the cores of the server.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads OpenMP

import numpy as np
import torch
from browser import Browser, find_browser
from export import drifting_shell
from raster import processor

from vid4d.gaussians.model import save_asset
from vid4d.viewer import Viewer

COUNT_FRAMES = "window.frames_ = 0; (function f() { window.frames_++; requestAnimationFrame(f); })()"


def shows_colors(browser: Browser) -> bool:
    """Whether something colorful is to be seen left of the panel."""
    scene = browser.screenshot()[160:, :550].astype(int)
    return bool(((scene.max(-1) - scene.min(-1)) > 60).sum() > 500)


def measure(run: Path, program: str, scrub: float = 10.0) -> dict[str, float]:
    """Seconds until the server is there and until the first picture, moments, and rates while scrubbing."""
    began = time.perf_counter()
    with Viewer([run], port=0, playing=False) as viewer, Browser(program, 900, 560) as browser:
        timings = {"seconds until the address is said": time.perf_counter() - began}
        began = time.perf_counter()
        browser.send("Page.navigate", url=viewer.url)
        while not shows_colors(browser):
            if time.perf_counter() - began > 300:
                raise SystemExit("the viewer drew nothing within five minutes")
            time.sleep(0.1)
        timings["seconds until the first picture"] = time.perf_counter() - began
        page = viewer.pages[0]
        timings["moments"] = len(page.content.times)
        timings["splats at a moment, at most"] = float(page.content.most_splats)
        time.sleep(5)
        browser.evaluate(COUNT_FRAMES)
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < scrub:
            viewer.clock.seek(0.5 - 0.48 * np.cos(0.15 * steps))
            viewer.show(viewer.clock.time)
            steps += 1
            browser.evaluate("1")
            time.sleep(0.02)
        elapsed = time.perf_counter() - began
        timings["pictures a second while scrubbing"] = browser.evaluate("window.frames_") / elapsed
        timings["times a second asked for"] = steps / elapsed
        return timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--splats", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=32 / 12)
    args = parser.parse_args()
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium on this machine")
    print(f"{processor()}, {platform.system()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(args.run) if args.run else Path(folder) / "asset.safetensors"
        if args.run is None:
            save_asset(run, drifting_shell(args.splats), {"seconds": repr(args.seconds)})
        print(f"{args.run or f'{args.splats} splats, {args.seconds:.2f} s'}\n")
        for name, value in measure(run, program).items():
            print(f"| {name} | {value:.4g} |")


if __name__ == "__main__":
    main()
