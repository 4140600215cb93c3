"""Cost of a fixed number of threads, which the same bytes on any number of cores need (`compute/threads.py`).

    python benchmarks/threads.py [--threads 2 4 8] [--repeat 3] [--cores 2]

Makes the example with the draft preset and four frames, one process a run, numbers of threads in turn, so
that what else happens on the machine falls on all of them alike. Prints seconds of the stages (median) and
the ratio to the first number.
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

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hopper.mp4"
RUN = """
import os, sys
threads, clip, out = int(sys.argv[1]), *sys.argv[2:]
import vid4d.compute.threads
vid4d.compute.threads.THREADS = threads
from vid4d import cli
cli.main(["generate", clip, "--preset", "draft", "--frames", "4", "--out", out])
"""


def seconds_of(threads: int, cores: int) -> dict[str, float]:
    """Seconds of the stages of one run, and of all of it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-c", RUN, str(threads), str(EXAMPLE), str(out)]
        subprocess.run(command, check=True, capture_output=True)
        timings = json.loads((out / "timings.json").read_text())
    return {name: s["seconds"] for name, s in timings["stages"].items()} | {"all": timings["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="of this machine, at most")
    options = parser.parse_args()
    runs: dict[int, list[dict[str, float]]] = {n: [] for n in options.threads}
    for _ in range(options.repeat):
        for n, done in runs.items():
            done.append(seconds_of(n, options.cores))
            print(f"{n} threads: {done[-1]['all']:.1f} s", flush=True)
    print(f"\n{options.cores} cores, {options.repeat} runs each, medians\n")
    names = ("matrix", "fit", "all")
    print(
        "| threads | "
        + " | ".join(f"{n} (s)" for n in names)
        + " | ratio |\n"
        + "|---" * (len(names) + 2)
        + "|"
    )
    medians = {n: {k: statistics.median(r[k] for r in done) for k in names} for n, done in runs.items()}
    first = next(iter(medians.values()))["all"]
    for n, m in medians.items():
        print(f"| {n} | " + " | ".join(f"{m[k]:.1f}" for k in names) + f" | {m['all'] / first:.2f} |")


if __name__ == "__main__":
    main()
