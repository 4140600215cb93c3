"""Checkpoints: what they hold comes back, and only to what they belong to."""

from __future__ import annotations

import os
import sys
from typing import TypedDict

import pytest
import torch
from safetensors.torch import save_file

from vid4d.errors import InputError
from vid4d.files.checkpoints import (
    check_step,
    identity_of,
    load_checkpoint,
    load_tensors,
    restoring,
    save_checkpoint,
    save_tensors,
    with_prefix,
)
from vid4d.files.records import Step


class State(TypedDict):
    step: Step


def test_tensors_and_numbers_come_back(tmp_path):
    path, tensors = tmp_path / "a.safetensors", {"a.x": torch.rand(3), "b": torch.rand(2, 3).T}
    save_checkpoint(path, tensors, {"step": 7, "loss": 0.5}, "me")
    found, state = load_checkpoint(path, "me", "clip", dict)
    assert all(torch.equal(found[k], v) for k, v in tensors.items())
    assert state["step"] == 7
    assert list(with_prefix(found, "a.")) == ["x"]


def test_everything_that_matters_is_in_the_identity():
    images = torch.rand(2, 3)
    first = identity_of([{"lr": 0.1}, 0], b"loop", images)
    assert first == identity_of([{"lr": 0.1}, 0], b"loop", images.T.contiguous().T)
    others = [
        identity_of([{"lr": 0.2}, 0], b"loop", images),
        identity_of([{"lr": 0.1}, 1], b"loop", images),
        identity_of([{"lr": 0.1}, 0], b"", images),
        identity_of([{"lr": 0.1}, 0], b"loop", images + 1),
    ]
    assert len({first, *others}) == 5


def test_a_changed_checkpoint_is_refused(tmp_path):
    """Whatever was changed in it, though it may be finite and fit in its place."""
    path, tensors = tmp_path / "a.safetensors", {"x": torch.zeros(3), "flag": torch.ones(2, dtype=torch.bool)}
    save_checkpoint(path, tensors, {"step": 7}, "me")
    found, metadata = load_tensors(path)
    ((key, text),) = metadata.items()
    changes = (
        (found | {"x": found["x"] + 1}, text),
        (found | {"x": found["x"].double()}, text),
        (found | {"x": found["x"][None]}, text),
        ({"x": found["x"]}, text),
        (found, text.replace('"step": 7', '"step": 8')),
    )
    for kept, told in changes:
        save_tensors(path, kept, {key: told})
        with pytest.raises(InputError, match="was changed or is damaged: delete it"):
            load_checkpoint(path, "me", "clip", dict)
    save_tensors(path, found, metadata)
    assert load_checkpoint(path, "me", "clip", State)[1]["step"] == 7


def test_a_step_behind_the_last_is_damage(tmp_path):
    with pytest.raises(InputError, match=r"is damaged \(step 9 of 8\)"), restoring(tmp_path):
        check_step(9, 8)
    check_step(8, 8)


def test_what_does_not_belong_here_is_refused_with_one_sentence(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.zeros(1)}, {"step": 1}, "me")
    with pytest.raises(InputError, match="belongs to another clip, or to another version"):
        load_checkpoint(path, "you", "clip", dict)
    save_file({"x": torch.zeros(1)}, path, {"vid4d-fit": "{}"})  # as vid4d wrote them in the beginning
    with pytest.raises(InputError, match="another version of vid4d: delete it"):
        load_checkpoint(path, "me", "clip", dict)
    save_checkpoint(path, {"x": torch.tensor([1.0, torch.nan])}, {"step": 1}, "me")
    with pytest.raises(InputError, match="NaN or infinity in 'x'"):
        load_checkpoint(path, "me", "clip", dict)
    save_checkpoint(path, {"x": torch.zeros(1)}, {"step": -1}, "me")
    with pytest.raises(InputError, match=r"'step' must be a whole number >= 0; delete it"):
        load_checkpoint(path, "me", "clip", State)
    with pytest.raises(InputError, match="is damaged"), restoring(path):
        raise KeyError("y")
    path.write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path, "me", "clip", dict)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_folders_whose_names_are_no_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    save_tensors(folder / "a.safetensors", {"a": torch.ones(2)}, {"b": "c"})
    tensors, metadata = load_tensors(folder / "a.safetensors")
    assert (tensors["a"].tolist(), metadata) == ([1, 1], {"b": "c"})
