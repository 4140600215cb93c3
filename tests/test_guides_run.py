"""What README and guides show runs, word for word, in the page's order, with a toy for a method."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from exported import coarse_meshes

from vid4d import api
from vid4d.export import meshes
from vid4d.media.video import write_mp4

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/first_steps.md", "docs/your_own_video.md")
PLACEHOLDER = re.compile(r"\b(COMMAND|FORMAT|FOLDER|CLIP|FILE|RUN|PATH)\b|\.\.\.")
SKIPPED = ("view", "app", "train", "info", "completion")
"""Those that last until they are stopped, need models of one's own, or speak of the machine or shell."""


def shown(page: Path) -> Iterator[list[str]]:
    """Commands in blocks and in running text, without what only stands for something."""
    for line in re.findall(
        r"(?:^|`)(?:\.venv/bin/)?vid4d ([^`\n]+)", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        line = line.split(" # ")[0].split(" > ")[0].replace("RUN", "runs/my_clip")
        words = shlex.split(line)
        named = words[0] in ("render", "export") or "my_clip.mp4" in line or "hopper.mp4" in line
        if named and words[0] not in SKIPPED and len(words) > 1 and not PLACEHOLDER.search(line):
            yield words


@pytest.mark.parametrize("name", PAGES)
def test_commands_run_as_they_are_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    monkeypatch.setattr(meshes, "FPS", 1.0)  # meshes of two moments
    coarse_meshes(monkeypatch)
    frames = [np.full((48, 48, 3), 255, np.uint8) for _ in range(8)]
    for i, frame in enumerate(frames):
        frame[14 + i : 30 + i, 16:32] = (200, 30, 30)
    for clip in ("my_clip.mp4", "examples/hopper.mp4"):
        Path(clip).parent.mkdir(exist_ok=True)
        write_mp4(clip, frames, 8)
    commands = list(shown(ROOT / name))
    assert commands
    for words in commands:
        assert run(*words) == 0, f"{name}: vid4d {shlex.join(words)}"
