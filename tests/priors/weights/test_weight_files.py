"""Weight files, and the ones that ship with the package."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vid4d.errors import InputError
from vid4d.priors import interpolators
from vid4d.priors.frustum import prior
from vid4d.priors.weights.files import (
    config_from_json,
    config_to_json,
    load_into,
    read_weights,
    save_weights,
)

MOST = 95_000_000
"""Bytes of all shipped weights together."""


@dataclass(frozen=True)
class Part:
    """Of a configuration."""

    outside: float = -1.0
    channels: tuple[int, ...] = (4, 8)


@dataclass(frozen=True)
class Whole:
    """A configuration with another within."""

    part: Part = Part()
    widths: tuple[int, ...] = (1, 2)


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_what_is_saved_is_loaded_again(tmp_path):
    """Floating tensors come back rounded to bfloat16, counters exactly; the folder is made."""
    path, first = tmp_path / "new" / "w.safetensors", model()
    first[1].num_batches_tracked += 1_234_567
    save_weights(path, first.state_dict(), {"made": "here"})
    second = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert load_into(second, path) == {"made": "here"}
    assert torch.equal(second[0].weight, first[0].weight.bfloat16().float())
    assert int(second[1].num_batches_tracked) == 1_234_567
    assert read_weights(path)[0]["0.weight"].dtype == torch.bfloat16
    save_weights(path, first.state_dict(), {}, dtype=torch.float32)
    load_into(second, path)
    assert torch.equal(second[0].weight, first[0].weight)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_weights_in_folders_whose_names_are_no_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9") / "w.safetensors"
    save_weights(path, model().state_dict(), {"made": "here"})
    assert load_into(model(), path) == {"made": "here"}


def test_a_prefix_takes_its_part_of_a_file(tmp_path):
    path, first = tmp_path / "w.safetensors", model()
    state = {f"net.{k}": v for k, v in first.state_dict().items()} | {"other.x": torch.zeros(1)}
    save_weights(path, state, {}, dtype=torch.float32)
    second = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    load_into(second, path, prefix="net.")
    assert torch.equal(second[0].weight, first[0].weight)
    with pytest.raises(InputError, match="8 unknown"):
        load_into(second, path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"0.weight": None}, r"1 tensors missing, 0 unknown, 0 of another shape \(first: 0.weight\)"),
        ({"0.extra": torch.zeros(1)}, r"0 tensors missing, 1 unknown, 0 of another shape \(first: 0.extra\)"),
        ({"0.bias": torch.full((2,), torch.nan)}, r"something else than finite numbers in 0.bias"),
        ({"0.bias": torch.zeros(2, dtype=torch.int64)}, r"something else than finite numbers in 0.bias"),
        ({"0.bias": torch.zeros(3)}, r"0 tensors missing, 0 unknown, 1 of another shape \(first: 0.bias\)"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, change, told):
    path, own = tmp_path / "w.safetensors", model()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    state = {k: torch.ones_like(v) for k, v in before.items()} | change
    save_file({k: v for k, v in state.items() if v is not None}, path)
    with pytest.raises(InputError, match=told) as error:
        load_into(own, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[k], v) for k, v in own.state_dict().items())


@pytest.mark.parametrize("keep", [0, 4, 60, 200])
def test_a_file_that_was_cut_off_is_refused(tmp_path, keep):
    path = tmp_path / "w.safetensors"
    save_weights(path, model().state_dict(), {})
    whole = path.read_bytes()
    assert len(whole) > 200
    path.write_bytes(whole[:keep])
    with pytest.raises(InputError, match="not a whole safetensors file") as error:
        load_into(model(), path)
    assert "\n" not in str(error.value)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no weights at .*nothing\.safetensors: give a safetensors file"):
        read_weights(tmp_path / "nothing.safetensors")


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, model().state_dict(), {"version": "1"})
    old = path.read_bytes()

    def half(tensors, file, metadata):
        with open(file, "wb") as out:
            out.write(old[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", half)
        with pytest.raises(OSError, match="No space"):
            save_weights(path, model().state_dict(), {"version": "2"})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == old


def test_the_shipped_weights_are_small_enough_and_load_strictly():
    files = {p for p in interpolators.SHIPPED.parent.rglob("*") if p.is_file()}
    assert files > {interpolators.SHIPPED, *prior.SHIPPED.glob("part_*.safetensors")}
    assert sum(p.stat().st_size for p in files) <= MOST
    network = prior.load_frustum_volume()
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training


def test_a_configuration_survives_as_text() -> None:
    config = Whole(part=Part(outside=-10.0, channels=(8, 16, 24)), widths=(1, 3))
    assert config_from_json(Whole, config_to_json(config)) == config
    assert config_from_json(Whole, None) == Whole()
    with pytest.raises(InputError, match="newer version"):
        config_from_json(Part, '{"color_of_the_moon": 1}')
