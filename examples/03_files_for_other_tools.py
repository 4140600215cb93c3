"""Files that other tools open; docs/formats.md says which tool opens what.

    python examples/03_files_for_other_tools.py runs/demo --formats ply html gif

What `vid4d export` does, from Python.
"""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import Positional

import vid4d
from vid4d.export.formats import export, options_for


def main(
    run: Positional[str],
    out: Path = Path("exported"),
    formats: tuple[str, ...] = ("ply", "html", "gif"),
    size: int = 256,
    frames: int | None = None,
) -> list[Path]:
    """run: a run folder. out: a folder. formats: names of vid4d.export.formats.FORMATS.

    size: of pictures, in pixels. frames: moments; as many as the clip's duration holds where not given.
    """
    asset = vid4d.load(run)
    written = []
    for name in formats:
        place = out / name
        place.mkdir(parents=True, exist_ok=True)
        options = options_for(name, size=size, frames=frames, force=True)  # others than it has are refused
        files = export(asset, name, place, options)
        megabytes = sum(f.stat().st_size for f in files) / 1e6
        print(f"{name}: {len(files)} file(s), {megabytes:.2f} MB, {files[0]}")
        written += files
    return written


if __name__ == "__main__":
    tyro.cli(main)
