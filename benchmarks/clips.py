"""Clips as people bring them (clip_kinds.py) with their true masks: what `vid4d prepare` makes of each.

    python benchmarks/clips.py [--out FOLDER] [--only NAME] [--speed]

Prints a row for each kind: the least intersection over union of a frame's mask with the truth, the mean error
of colors well inside it (of 255), and the first warning. With --out, the strips are written there. --speed
measures the command on a clip of 2,000 frames instead: seconds of CPU, and the most memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from clip_kinds import GREY, KINDS, Case, over, video, walk
from scipy import ndimage

from vid4d.clip.clip import read_clip
from vid4d.clip.crop import crop
from vid4d.clip.files import save_strip
from vid4d.errors import InputError


def measured(case: Case, strip: Path | None) -> str:
    """The columns of a case's row."""
    try:
        clip = read_clip(case.source, **{"frames": 0, "cyclic": False, **case.options})
    except InputError as e:
        said = str(e)
        right = bool(case.refused) and case.refused in said
        return f"{'refused' if right else 'REFUSED'} | | {said[:110]}"
    if strip is not None:
        save_strip(clip, strip)
    if case.refused or len(clip) != len(case.truth):
        return f"TAKEN | | {len(clip)} frames, {len(case.truth)} expected; {'; '.join(clip.warnings)[:90]}"
    left, top, side = clip.window  # type: ignore[misc]
    path = np.zeros((len(clip), 2)) if clip.path is None else clip.path
    overlap, errors = [], []
    for shown, truth, moved in zip(clip.frames, case.truth, path, strict=True):
        true = crop(truth, (left + moved[0] * side, top + moved[1] * side, side), shown.shape[0])
        a, b = shown[..., 3] > 0.5, true[..., 3] > 0.5
        overlap.append((a & b).sum() / (a | b).sum())
        inner = ndimage.binary_erosion(a & b, iterations=3)
        errors.append(255 * np.abs(shown - true)[inner, :3].mean())
    warning = clip.warnings[0] if clip.warnings else ""
    return f"{min(overlap):.3f} | {np.mean(errors):.1f} | {warning[:110]}"


def speed(place: Path) -> None:
    """A clip of 2,000 frames of 480 x 360 pixels."""
    few = over(walk(100, size=(360, 480), r=60, travel=60), GREY)
    film = video(place / "long.mp4", (few + few[::-1]) * 10, crf=23)
    command = [sys.executable, "-m", "vid4d", "prepare", str(film), "--out", str(place / "prepared")]
    subprocess.run(command, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"2,000 frames: {cpu:.1f} s of CPU with the start, {used.ru_maxrss / 1024:.0f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--speed", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.speed:
            speed(Path(scratch))
            return
        if chosen.out:
            chosen.out.mkdir(parents=True, exist_ok=True)
        print("| kind | least IoU | error of colors | what is said |\n|---|---|---|---|")
        for kind in KINDS:
            if chosen.only in kind.__name__:
                case = kind(Path(scratch) / kind.__name__)
                strip = chosen.out / f"{kind.__name__}.png" if chosen.out else None
                print(f"| {kind.__name__.replace('_', ' ')} | {measured(case, strip)} |", flush=True)


if __name__ == "__main__":
    main()
