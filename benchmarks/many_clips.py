"""What `vid4d batch` costs a clip, measured here, and what a million clips take (docs/many_clips.md).

    python benchmarks/many_clips.py [--runs 6] [--frames 4] [--preset draft] [--device cpu] [--empty 300]

Measures the bookkeeping with runs that make nothing (`--empty` of them), the reading of bytes, the loading of
networks, and real runs of the example, of which each has other settings, in one process. Prints numbers, and
what a million clips take at these; of the real runs by the median of all but the first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from vid4d import api
from vid4d.batch.clips import clips_of, key_of
from vid4d.batch.records import all_records, write_table
from vid4d.batch.work import work
from vid4d.priors.base import load_matrix_prior
from vid4d.priors.interpolators import load_interpolator
from vid4d.priors.weights.loaded import networks_kept
from vid4d.runs.progress import Progress
from vid4d.runs.run import Run
from vid4d.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hopper.mp4"
MILLION = 1_000_000
CLIP_MB = 2.0
"""Of a clip in the reckoning: some seconds of HD video."""


def seconds(what: Any) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


@contextmanager
def making_nothing() -> Iterator[None]:
    """Runs are opened and closed, and hold no more than their settings and log."""

    def make(settings: Settings, *, out: Path, resume: bool, progress: Progress) -> None:
        Run.create(out, settings, resume=resume, progress=progress).close()

    before = api.make
    api.make = make  # type: ignore[assignment]
    try:
        yield
    finally:
        api.make = before


def opens(out: Path, settings: Settings) -> Run:
    run = Run.create(out, settings)
    run.close()
    return run


def bookkeeping(count: int, folder: Path) -> dict[str, float]:
    """Milliseconds a clip: made for the first time, found done, in the table; and a run that is opened."""
    clips = folder / "clips"
    clips.mkdir()
    for i in range(count):
        (clips / f"{i}.mp4").write_bytes(i.to_bytes(4, "little"))
    out, settings, quiet = folder / "runs", Settings(device="cpu"), Progress(quiet=True)

    def all_of_them() -> None:
        work(clips_of(clips, out), settings, out, quiet)

    with making_nothing():
        opened = seconds(lambda: [opens(folder / "opened" / str(i), settings) for i in range(count)])
        found = {"first": seconds(all_of_them)}
        for clip in clips.iterdir():
            os.utime(clip)  # another process has no hashes of them, and none is kept of files just written
        found["again"] = seconds(all_of_them)
    found |= {"a run opened": opened, "table": seconds(lambda: write_table(out))}
    return {name: 1000 * value / count for name, value in found.items()}


def hashing(folder: Path, megabytes: int = 256) -> float:
    """Megabytes a second that are read for a key, from the system's cache."""
    clip = folder / "long.mp4"
    clip.write_bytes(os.urandom(1 << 20) * megabytes)

    def read() -> None:
        os.utime(clip)  # of a file that was just written no hash is kept
        key_of(str(clip), Settings())

    return (megabytes << 20) / 1e6 / min(seconds(read) for _ in range(3))


def loading(device: str) -> tuple[float, float]:
    """Seconds in which the default networks are loaded: for the first clip of a process, for the next."""

    def load() -> None:
        load_matrix_prior("frustum", device)
        load_interpolator(device=device)

    with networks_kept():
        return seconds(load), seconds(load)


def real_runs(count: int, settings: dict[str, Any], folder: Path) -> list[dict[str, float]]:
    """Seconds, bytes and files of each run of the example; seeds differ, so that each is made."""
    out, rows = folder / "runs", []
    with networks_kept():
        for seed in range(count):
            chosen = api.resolved(Settings(clip=str(EXAMPLE), seed=seed, **settings))
            work([str(EXAMPLE)], chosen, out, Progress(quiet=True))
    for record in sorted(all_records(out), key=lambda r: r.finished):
        assert record.status == "done", record.error
        rows.append({"seconds": record.seconds, "MB": record.run_bytes / 1e6, "files": record.run_files})
        kinds: Counter[str] = Counter()
        for path in (out / record.run).rglob("*"):
            if path.is_file():
                kinds[path.relative_to(out / record.run).parts[0]] += path.stat().st_size
    print("largest of the last run: " + ", ".join(f"{n} {b / 1e6:.2f} MB" for n, b in kinds.most_common(6)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--empty", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs, rate = bookkeeping(options.empty, folder), hashing(folder)
    told = ", ".join(f"{name} {value:.2f}" for name, value in costs.items())
    print(f"bookkeeping of {options.empty} clips, ms a clip: {told}")
    print(f"bytes read for keys: {rate:.0f} MB/s")
    first, later = loading(options.device)
    print(f"networks loaded: {first:.2f} s for the first clip of a process, {later:.4f} s for the next")
    if not options.runs:
        return
    chosen = {"frames": options.frames, "preset": options.preset, "device": options.device}
    with tempfile.TemporaryDirectory() as name:
        rows = real_runs(options.runs, chosen, Path(name))
    print(f"real runs, {chosen}:")
    for row in rows:
        print("  " + ", ".join(f"{k} {v:.2f}" for k, v in row.items()))
    middle = {name: median(row[name] for row in rows[1:] or rows) for name in rows[0]}
    hours = {name: MILLION * value / 3.6e6 for name, value in costs.items()}
    print("a million clips at these numbers:")
    each = middle["seconds"]
    print(f"  {MILLION * each / 3600:,.0f} hours of one such machine, {each:.1f} s a run")
    print(f"  {MILLION * middle['MB'] / 1e6:.2f} TB in {MILLION * middle['files'] / 1e6:.0f} million files")
    print(f"  bookkeeping {hours['first']:.1f} h in all; {hours['again']:.2f} h to find all done")
    print(f"  {MILLION * CLIP_MB / rate / 3600:.2f} h to read clips of {CLIP_MB:g} MB for their keys")
    print(f"  {60 * hours['table']:.1f} min for the table")


if __name__ == "__main__":
    main()
