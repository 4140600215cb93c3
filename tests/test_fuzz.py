"""Every reader against changed files: what comes out is a value or one sentence.

VID4D_FUZZ=SECONDS gives each reader so long; 3 where not given.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from vid4d.clip.files import load_frames
from vid4d.clip.sources import open_source
from vid4d.errors import InputError
from vid4d.gaussians.model import load_asset, save_asset
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.priors.weights.checkpoint_reader import open_checkpoint

SECONDS = float(os.environ.get("VID4D_FUZZ", "3"))
ODD = [None, True, -1, 0, 180, 1e6, 1e308, float("nan"), float("inf")]
ODD += ["", "false", "0.8", [], {}, [[0] * 4] * 4]


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """The data with some bytes replaced, a part cut out, repeated or left out at its end."""
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    kind = chance.randrange(4)
    if kind == 0:
        return data[:a]
    if kind == 1:
        return data[:a] + data[b:]
    if kind == 2:
        return data[:b] + data[a:]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 4, 32])):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def changed_json(data: bytes, chance: random.Random) -> bytes:
    """The description with one of its values, however deep, replaced by an odd one or left out."""
    value = json.loads(data)
    places: list[tuple] = []

    def collect(holder) -> None:
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                collect(holder[key])

    collect(value)
    holder, key = chance.choice(places)
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = chance.choice(ODD)
    return json.dumps(value).encode()


def frames_at(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        picture = np.zeros((16, 16, 4), np.uint8)
        picture[4:12, 4 : 10 + i] = 255
        Image.fromarray(picture).save(folder / f"{i}.png")
    told = {"times": [0, 0.5, 1], "seconds": 1, "cyclic": False, "warnings": [], "keys": [0, 2]}
    (folder / "clip.json").write_text(json.dumps(told))
    return folder


def clip_description(folder: Path) -> tuple[Path, Callable[[], object]]:
    clip = frames_at(folder / "clip")
    return clip / "clip.json", lambda: load_frames(clip)


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


@pytest.mark.parametrize("make", [clip_description, cameras, gif, asset, checkpoint])
def test_a_changed_file_is_read_or_refused_in_one_sentence(tmp_path, make, unchecked):
    file, read = make(tmp_path)
    whole, chance, tried = file.read_bytes(), random.Random(0), 0
    end = time.monotonic() + SECONDS
    while tried < 5 or time.monotonic() < end:
        change = changed_json if file.suffix == ".json" and chance.random() < 0.7 else changed_bytes
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
