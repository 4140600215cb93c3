"""Is in the files what is in the asset? Every export, read back by somebody else's reader and compared.

    python benchmarks/round_trip.py RUN [RUN ...] [--only ply usd] [--size 256] [--no-browser]

RUN is a run folder. Prints a Markdown table per run; exit code 1 where something disagrees by more than the
tolerance that stands with it.

Splats: those that can be seen (opacity of 1/255 or more) at every moment of the file. Colors are their mean,
weighted by opacity, without the harmonics of higher degrees. Meshes are surfaces, not splats, so they are
compared by what is seen: silhouettes (overlap), their bounds (the middle 98% across and down) and colors
against renders of the asset from six sides at three moments. Videos and pictures are compared with renders
frame by frame. Splats that are read back are drawn by our own rasteriser, too, in the axes of their file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads OpenMP

import numpy as np
import torch
from browser import Browser, find_browser
from comparisons import SIDES, Check, Say, decibels, duration, span
from PIL import Image
from readers import decoded, open_usd, read_gif, usd_complaints, usd_splats
from readers_splats import PlayerPage
from round_trip_meshes import check_glb, check_obj, check_usd_surface
from round_trip_splats import (
    MOVING_SHARPNESS,
    READERS,
    check_moments,
    check_moving,
    compare_splats,
    plan,
    visible_splats,
)

import vid4d
from vid4d.asset import Asset
from vid4d.cameras import Cameras
from vid4d.export.formats import FORMATS, export, options_for
from vid4d.media.images import over
from vid4d.metrics import mask_iou

SHARPNESS = {"mp4": 30.0, "webm": 30.0, "mov": 36.0, "webp": 30.0, "gif": 30.0, "png": 50.0}
"""dB that pictures must reach; a GIF has 255 colors, and is compared with alpha that is on or off."""
PAGE_SHARPNESS = 38.0


# USD and the page ----------------------------------------------------------------------------------------


def check_usd(asset: Asset, files: list[Path], say: Say) -> None:
    stage, field = open_usd(files[0])
    times = plan(asset, 24.0)
    samples = field.GetPositionsAttr().GetTimeSamples()
    say("moments", str(len(times)), str(len(samples)), list(samples) == list(range(len(times))))
    duration(asset, len(samples) / stage.GetTimeCodesPerSecond(), say)
    compare_splats(asset, times, lambda i: usd_splats(field, i), say, tolerance=2e-5)
    check_usd_surface(asset, files, say)
    complaints = usd_complaints(stage)
    say("complaints of OpenUSD's validators", "0", str(len(complaints)), not complaints)


def check_html(asset: Asset, files: list[Path], say: Say, *, browser: bool = True) -> None:
    page = PlayerPage(files[0])
    times = [0.0, 0.25, 0.5, 0.75, 1.0]
    duration(asset, page.about["seconds"], say)
    compare_splats(asset, times, lambda i: page.at(times[i]), say, tolerance=2e-3)
    program = find_browser() if browser else None
    if program is None:
        return
    with Browser(program, 400, 340) as opened:
        opened.send("Page.navigate", url=files[0].resolve().as_uri())
        opened.wait_until("window.player !== undefined && player.drawn > 0", 120)
        width, height = (
            opened.evaluate(f"document.querySelector('canvas').{side}") for side in ("width", "height")
        )
        square = slice(0, height), slice((width - height) // 2, (width + height) // 2)
        worst, shown = 100.0, []
        for (azimuth, elevation), moment in zip(SIDES, (0.0, 0.3, 0.5, 0.7, 0.9, 1.0), strict=True):
            look = f"{{azimuth: {azimuth}, elevation: {elevation}, distance: 1.5, target: [0, 0, 0]}}"
            opened.evaluate(f"player.seek({moment}); window.before = player.drawn; player.look({look})")
            opened.wait_until("player.drawn > window.before")
            time.sleep(0.5)  # until the picture is on the screen
            picture = opened.screenshot()[:height, :width] / 255
            camera = Cameras.orbit([azimuth], elevation, size=min(width, height))
            whole = replace(camera, width=width, height=height)
            expected = asset.render(whole, moment, background=1.0)[0].numpy()
            worst = min(worst, decibels(picture[square], expected[square]))
            shown.append(
                (len(visible_splats(asset.gaussians.at(moment)).means), opened.evaluate("player.shown"))
            )
        errors = [line for line in opened.log if line.startswith("error ")]
    agrees = all(abs(a - b) <= max(1, 0.002 * a) for a, b in shown)
    ranges = [f"{min(s):,} to {max(s):,}" for s in zip(*shown, strict=True)]
    say("splats that Chromium draws at 6 moments (± 0.2%)", *ranges, agrees)
    what = f"Chromium's pictures, 6 sides and moments (≥ {PAGE_SHARPNESS:g} dB)"
    say(what, "renders", f"{worst:.1f} dB at worst", worst >= PAGE_SHARPNESS)
    say("errors on the console", "0", str(len(errors)), not errors)


# Videos and pictures -----------------------------------------------------------------------------------


def over_white(picture: np.ndarray) -> np.ndarray:
    return over(picture, 1.0) if picture.shape[-1] == 4 else picture


def check_pictures(asset: Asset, to: str, files: list[Path], say: Say, *, size: int) -> None:
    """A turntable: once around, whole repetitions of the clip, four seconds at least."""
    lasting, rate = None, 24.0
    if to == "png":
        frames = [np.asarray(Image.open(file)) / 255 for file in files]
    elif to in ("gif", "webp"):
        rate = 12.0 if to == "gif" else 24.0
        frames, lasting = read_gif(files[0])
    else:
        form = "rgb24" if to == "mp4" else "rgba"
        frames, fps = decoded(files[0], "libvpx-vp9" if to == "webm" else None, form)
        lasting = len(frames) / float(fps)
    whole = asset.seconds * max(1, int(np.ceil(4.0 / asset.seconds - 1e-6)))
    count = round(whole * rate)
    say("frames", str(count), str(len(frames)), len(frames) == count)
    if lasting is not None:
        right = abs(lasting - whole) < 0.006
        say("duration, whole repetitions of the clip", f"{whole:.3f} s", f"{lasting:.3f} s", right)
    worst, colors, overlaps = 100.0, [], []
    for i in sorted({round(j) for j in np.linspace(0, min(len(frames), count) - 1, 8)}):
        camera = Cameras.orbit([360.0 * i / count], asset.elevation, size=size)
        true = asset.render(camera, (i * whole / count / asset.seconds) % 1.0)[0].numpy()
        if to == "gif":
            true = np.concatenate([true[..., :3], (true[..., 3:] >= 0.5).astype(true.dtype)], -1)
        worst = min(worst, decibels(over_white(frames[i]), over_white(true)))
        solid = true[..., 3] > 0.9
        if solid.any():
            colors.append([true[solid][:, :3].mean(0), frames[i][solid][:, :3].mean(0)])
        if frames[i].shape[-1] == 4:
            overlaps.append(float(mask_iou(*(torch.from_numpy(p[..., 3].copy()) for p in (true, frames[i])))))
    say(f"8 frames (≥ {SHARPNESS[to]:g} dB)", "renders", f"{worst:.1f} dB at worst", worst >= SHARPNESS[to])
    means, off = np.array(colors).mean(0), float(np.abs(np.diff(colors, axis=1)).max())
    say(f"mean color (± 0.03; most {off:.3f})", span(means[0]), span(means[1]), off <= 0.03)
    if overlaps:
        say("overlap of alpha (≥ 0.97)", "1", f"{min(overlaps):.3f} at worst", min(overlaps) >= 0.97)


# All of them -------------------------------------------------------------------------------------------


def round_trip(
    asset: Asset,
    folder: Path,
    only: Sequence[str] = tuple(FORMATS),
    *,
    size: int = 256,
    browser: bool = True,
    report: Callable[[Check], object] = lambda check: None,
    **options: Any,
) -> list[Check]:
    """Exports an asset to every format, into a folder, and compares.

    report: called with each check as soon as it is made. options: of `ExportOptions`, for toys.
    """
    checks: list[Check] = []
    for to in only:

        def say(what: str, true: str, exported: str, agrees: bool, to: str = to) -> None:
            checks.append(Check(to, what, true, exported, bool(agrees)))
            report(checks[-1])

        out = folder / (to if FORMATS[to].sequence else f"{FORMATS[to].stem}{FORMATS[to].ending}")
        files = export(asset, to, out, options_for(to, size=size, **options))
        if to in READERS:
            check_moments(asset, to, files, say, size=size)
        elif to in MOVING_SHARPNESS:
            check_moving(asset, to, files, say, size=size)
        elif to in ("usd", "usdz"):
            check_usd(asset, files, say)
        elif to == "glb":
            check_glb(asset, files, say)
        elif to == "obj":
            check_obj(asset, files, say)
        elif to == "html":
            check_html(asset, files, say, browser=browser)
        else:
            check_pictures(asset, to, files, say, size=size)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path)
    parser.add_argument("--only", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--no-browser", action="store_true")
    args = parser.parse_args()
    failed = 0
    for run in args.runs:
        asset = vid4d.load(run, device="cpu")
        about = f"{len(asset.gaussians):,} splats, {asset.seconds:.2f} s{', a loop' if asset.cyclic else ''}"
        print(f"\n### {run.name} ({about})\n")
        print("| format | what | asset | file | agrees |\n|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            checks = round_trip(
                asset,
                Path(folder),
                args.only,
                size=args.size,
                browser=not args.no_browser,
                report=lambda check: print(check.row(), flush=True),
            )
        failed += sum(not check.agrees for check in checks)
    print(f"\n{failed} disagree" if failed else "\nAll agree.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
