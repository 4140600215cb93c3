"""Our networks at the authors' sizes against the authors' numbers, from files in the authors' formats.

    python benchmarks/fullsize_fixtures.py

Runs tests/priors/test_authors_numbers.py, also its full-size cases (about 10 GB of memory and of disk, some
minutes), and writes what they print to benchmarks/results/fullsize_fixtures.txt.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from raster import processor

from vid4d.files.write import write_text

ROOT = Path(__file__).resolve().parents[1]
TESTS = "tests/priors/test_authors_numbers.py"
RESULTS = Path(__file__).parent / "results" / "fullsize_fixtures.txt"


def outputs() -> Iterable[tuple[str, str]]:
    """What is run, and what it printed: the small cases, then those at full size."""
    for marker in ("not fullsize", "fullsize"):
        command = ["pytest", "-n0", "-s", "-m", marker, TESTS]
        run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        yield f'pytest -n0 -s -m "{marker}" {TESTS}', run.stdout + run.stderr


def report(parts: Iterable[tuple[str, str]]) -> str:
    """One text of all runs, headed by the machine."""
    text = [f"{processor()}, torch {torch.__version__}, float32"]
    for command, output in parts:
        lines = (line.strip(".") for line in output.splitlines())
        text += ["", f"$ {command}", *(line for line in lines if line.strip())]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    result = report(outputs())
    write_text(RESULTS, result)
    print(result)
