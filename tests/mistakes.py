"""What a user sees for the commonest mistakes: `python tests/mistakes.py` prints commands and sentences."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

MISTAKES = [
    ("a name that is mistyped", "generate my_vidoe.mp4"),
    ("no video", "generate notes.txt"),
    ("a video that was cut off", "generate cut.mp4"),
    ("nothing stands out from the background", "generate flat.png"),
    ("an option of another command or program", "generate clip --fames 8"),
    ("a preset that does not exist", "generate clip --preset fast"),
    ("a folder that already holds something", "generate clip --out full"),
    ("a graphics card that is not there", "generate clip --device cuda:9"),
    ("weights that are not here", "generate clip --prior syncdreamer"),
    ("no run folder", "export clip --to glb"),
    ("a file that exists", "render asset.safetensors --out photo.png"),
    ("a time in seconds instead of 0 to 1", "export asset.safetensors --to ply --time 1.5"),
]


def main() -> None:
    """Makes the inputs in a temporary folder and prints what each command says, and its exit code."""
    import toys
    from malformed_kinds import frames_at

    from vid4d import cli
    from vid4d.gaussians.model import save_asset

    with tempfile.TemporaryDirectory() as place:
        os.environ["VID4D_WEIGHTS"] = str(Path(place, "weights"))
        os.chdir(place)
        Path("notes.txt").write_text("The quick brown fox\n" * 40)
        Path("cut.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
        Path("photo.png").write_text("mine")
        Path("full").mkdir()
        Path("full", "thesis.tex").write_text("mine")
        Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save("flat.png")
        frames_at(Path("clip"))
        save_asset(Path("asset.safetensors"), toys.jumping_ball(20), {"seconds": "2.0"})
        for what, command in MISTAKES:
            said, code = io.StringIO(), 0
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                try:
                    cli.main(command.split())
                except SystemExit as stop:
                    code = int(stop.code or 0)
            print(f"{what}\n$ vid4d {command}\n{said.getvalue().strip()}\n(exit code {code})\n")
        os.chdir("/")


if __name__ == "__main__":
    main()
