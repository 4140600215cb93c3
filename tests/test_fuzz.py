"""Every reader against changed files: what comes out is a value or one sentence.

VID4D_FUZZ=SECONDS gives each reader so long; 3 where not given.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from malformed_kinds import frames_at
from PIL import Image
from spoiled import changed_bytes, changed_json, retyped

from vid4d.clip.clip import read_clip
from vid4d.clip.files import load_frames, write_frames
from vid4d.clip.sources import open_source
from vid4d.errors import InputError
from vid4d.gaussians.model import load_asset, save_asset
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.priors.weights.checkpoint_reader import open_checkpoint
from vid4d.runs.kept_settings import read_settings
from vid4d.runs.run import Run
from vid4d.settings import Settings

SECONDS = float(os.environ.get("VID4D_FUZZ", "3"))


def clip_description(folder: Path) -> tuple[Path, Callable[[], object]]:
    clip = frames_at(folder / "clip")
    return clip / "clip.json", lambda: load_frames(clip)


def written_clip(folder: Path) -> tuple[Path, Callable[[], object]]:
    clip = read_clip(frames_at(folder / "clip"), frames=2, size=16)
    path = np.zeros((len(clip.times), 2))
    frames = write_frames(replace(clip, path=path, object_pixels=6.0, warnings=("small",)), folder / "frames")
    return frames / "clip.json", lambda: load_frames(frames)


def settings(folder: Path) -> tuple[Path, Callable[[], object]]:
    run = folder / "run"
    chosen = Settings(clip="a.mp4", frames=2, steps=2, memory=3.0, start=0.0, end=1.0, elevation=4.0)
    chosen = replace(chosen, canonical="a.glb", canonical_azimuth=4.0)
    Run.create(run, chosen).close()
    return run / "settings.json", lambda: read_settings(run)


def cameras(folder: Path) -> tuple[Path, Callable[[], object]]:
    matrix = save_matrix(toys.toy_matrix(), folder / "matrix")
    return matrix / "cameras.json", lambda: load_matrix(matrix)


def gif(folder: Path) -> tuple[Path, Callable[[], object]]:
    file, noise = folder / "a.gif", np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save(file, save_all=True, append_images=rest)

    def read() -> object:
        source = open_source(file)
        return list(source.read(range(len(source.times))))

    return file, read


def asset(folder: Path) -> tuple[Path, Callable[[], object]]:
    file = folder / "asset.safetensors"
    save_asset(file, toys.jumping_ball(5), {"seconds": "2"})
    return file, lambda: load_asset(file)


def checkpoint(folder: Path) -> tuple[Path, Callable[[], object]]:
    import torch

    file = folder / "a.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, file)
    return file, lambda: open_checkpoint(file)


@pytest.mark.parametrize("make", [written_clip, cameras, settings])
def test_every_field_that_we_write_has_a_type(tmp_path, make, unchecked):
    file, read = make(tmp_path)
    read()
    believed = []
    for name, data in retyped(file.read_bytes()):
        file.write_bytes(data)
        with suppress(InputError):
            read()
            believed.append(name)
    assert believed == []


def described(data: bytes, chance: random.Random) -> bytes:
    return changed_json(data, chance)[0]


@pytest.mark.parametrize("make", [clip_description, cameras, gif, asset, checkpoint])
def test_a_changed_file_is_read_or_refused_in_one_sentence(tmp_path, make, unchecked):
    file, read = make(tmp_path)
    whole, chance, tried = file.read_bytes(), random.Random(0), 0
    end = time.monotonic() + SECONDS
    while tried < 5 or time.monotonic() < end:
        change = described if file.suffix == ".json" and chance.random() < 0.7 else changed_bytes
        file.write_bytes(change(whole, chance))
        tried += 1
        try:
            read()
        except InputError as error:
            told = str(error)
        else:
            told = ""
        assert "Traceback" not in told
        assert told.count("\n") == 0, told
