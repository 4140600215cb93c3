"""Seconds and megabytes of every export format, and how fast the page is in a browser.

    python benchmarks/export.py [--splats 20000] [--frames 32] [--only ply usd] [--no-browser]

The asset is made up: splats on a sphere, all of them there at all times, each drifting on a straight line
of its own; colors without harmonics. That is the most that a sequence of moments can be asked to hold; in
fitted assets only a part of the splats is there at a time. Pictures and videos: 512 pixels, as many frames.

Seconds of the processor are summed over the cores; other programs hardly change them.
The page is opened in a headless Chromium that has no GPU: it draws in software, on the same cores.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads OpenMP

import torch
from browser import Browser, find_browser
from raster import processor, shell

from vid4d.asset import Asset
from vid4d.errors import InputError
from vid4d.export.formats import FORMATS, export, options_for
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.gaussians.model import Gaussians4D

DRIFT = 1.0
"""How much the splats' right and left quaternions differ, times `ALWAYS`; they travel 0.09 units."""
ALWAYS = 10.0
"""Standard deviation in time, in lengths of the clip."""
FRAMES_A_SECOND = 12.0


def drifting_shell(count: int) -> Gaussians4D:
    """The splats of benchmarks/raster.py, there all the time, in motion, of one color each."""
    generator = torch.Generator().manual_seed(1)
    splats = shell(count)
    parts: dict[str, Any] = {name: value.clone() for name, value in splats.tensors().items()}
    parts["log_scales"][:, 3] = math.log(ALWAYS)
    turn = torch.nn.functional.normalize(parts["quats_left"], dim=-1)
    parts["quats_left"] = turn
    lean = torch.randn(count, 4, generator=generator)
    parts["quats_right"] = turn + DRIFT * torch.nn.functional.normalize(lean, dim=-1) / ALWAYS
    parts["sh"] = 4 * parts["sh"][:, :1]
    return replace(splats, **parts)


def browse(page: Path, seconds: float = 10.0) -> tuple[float, float, float]:
    """Seconds to the first picture; pictures a second while it plays, and while the timeline is dragged."""
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium on this machine: use --no-browser")
    with Browser(program, 700, 560) as browser:
        began = time.perf_counter()
        browser.send("Page.navigate", url=page.as_uri())
        browser.wait_until("window.player !== undefined && player.drawn > 0", 300)
        first = time.perf_counter() - began
        box = "document.querySelector('input').getBoundingClientRect()"
        left, width, top = (browser.evaluate(f"{box}.{k}") for k in ("left", "width", "top"))
        rates = []
        for drag in (False, True):
            browser.evaluate("player.drawn = 0")
            began = time.perf_counter()
            steps = 0
            while time.perf_counter() - began < seconds:
                if drag:
                    kind = "mouseMoved" if steps else "mousePressed"
                    mouse(browser, kind, left + (0.5 - 0.48 * math.cos(0.15 * steps)) * width, top + 6)
                    steps += 1
                time.sleep(0.02)
            rates.append(browser.evaluate("player.drawn") / (time.perf_counter() - began))
    return first, rates[0], rates[1]


def mouse(browser: Browser, kind: str, x: float, y: float) -> None:
    browser.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--splats", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=list(FORMATS))
    parser.add_argument("--no-browser", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds = args.frames / FRAMES_A_SECOND
    print(f"{processor()}, {platform.system()}, {args.threads} threads, torch {torch.__version__}")
    print(f"{args.splats} splats x {args.frames} frames\n")
    print("| format | seconds | of the processor | MB | files |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        asset = Asset(
            drifting_shell(args.splats), AssetMetadata(seconds=seconds), Path(folder) / "asset.safetensors"
        )
        for name in args.only:
            began, worked = time.perf_counter(), time.process_time()
            try:
                files = export(asset, name, options=options_for(name, frames=args.frames, seconds=seconds))
            except InputError as error:
                print(f"| {name} | {error} | | | |", flush=True)
                continue
            took, worked = time.perf_counter() - began, time.process_time() - worked
            size = sum(file.stat().st_size for file in files) / 1e6
            print(f"| {name} | {took:.1f} | {worked:.1f} | {size:.2f} | {len(files)} |", flush=True)
        page = Path(folder) / "export" / "asset.html"
        if page.is_file() and not args.no_browser:
            first, still, scrubbing = browse(page)
            print(
                f"\nPage: first picture after {first:.1f} s; {still:.1f} pictures a second while it plays, ",
                end="",
            )
            print(f"{scrubbing:.1f} while the timeline is dragged.")


if __name__ == "__main__":
    main()
