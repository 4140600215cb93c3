"""Files of DyNeRFs: read back as they were written, refused where they are damaged."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_runs import SMALL_FIELD

from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, OccupancyGrid, render_field
from vid4d.dynerf.files import load_field, save_field
from vid4d.errors import InputError
from vid4d.files.checkpoints import load_tensors, save_tensors


def test_a_field_comes_back_from_its_file(tmp_path):
    field, grid = CascadeField(SMALL_FIELD.for_clip(5, cyclic=True)), OccupancyGrid(8, samples=32)
    grid.update(field, torch.Generator().manual_seed(0))
    save_field(tmp_path / "dynerf.safetensors", field, grid)
    again, cells = load_field(tmp_path / "dynerf.safetensors")
    assert again.config == field.config
    camera = Cameras.orbit([20.0], 10.0, size=12)
    with torch.no_grad():
        pictures = [
            render_field(f, camera, 0.3, grid=g, samples=32)[-1].color
            for f, g in ((field, grid), (again, cells))
        ]
    assert torch.equal(*pictures)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        load_field(tmp_path / "broken.safetensors")
    tensors, metadata = load_tensors(tmp_path / "dynerf.safetensors")
    (key,) = metadata
    renamed = {k.replace("colour_in", "color_in"): v for k, v in tensors.items()}
    for kept, text in (
        (renamed, metadata[key]),
        (tensors, metadata[key].replace('"channels"', '"chanels"')),
        (tensors, "{"),
        (tensors, metadata[key].replace('"cyclic": true', '"cyclic": "true"')),
        (tensors, metadata[key].replace('"step": ', '"step": -')),
    ):
        save_tensors(tmp_path / "other.safetensors", kept, {key: text})
        with pytest.raises(InputError, match="another version of vid4d, or is damaged"):
            load_field(tmp_path / "other.safetensors")
    tensors["field.cascade.0.space"][0, 0, 0, 0] = torch.nan
    save_tensors(tmp_path / "other.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"NaN or infinity in 'field\.cascade\.0\.space'"):
        load_field(tmp_path / "other.safetensors")


def test_a_field_that_announces_more_than_it_holds_is_not_built(tmp_path):
    file = tmp_path / "dynerf.safetensors"
    save_field(file, CascadeField(SMALL_FIELD.for_clip(5)), OccupancyGrid(8, samples=32))
    tensors, metadata = load_tensors(file)
    ((key, text),) = metadata.items()
    for name, value in (("space", 10**6), ("time", 10**9), ("width", 10**9)):
        sizes = json.loads(text)
        sizes["field"]["levels"][0][name] = value
        sizes["field"]["frames"] = None
        save_tensors(file, tensors, {key: json.dumps(sizes)})
        with pytest.raises(InputError, match="announces more numbers than it holds"):
            load_field(file)
