"""Weights in eight bits: rounding errors worked by hand, pieces, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vid4d.errors import InputError
from vid4d.priors.weights.eight_bit import SMALLEST, dequantize, quantize, read_pieces, save_pieces


def test_rows_are_off_by_half_a_step_at_most() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 80) * torch.logspace(-3, 3, 64)[:, None]
    packed = quantize({"w": weight})
    assert packed["w"].dtype == torch.int8
    step = weight.abs().amax(1) / 127
    torch.testing.assert_close(packed["w:scale"], step)
    error = (dequantize(packed)["w"] - weight).abs().amax(1)
    assert bool((error <= step * 0.501).all())


def test_numbers_by_hand() -> None:
    weight = torch.zeros(2, SMALLEST)
    weight[0, :3] = torch.tensor([127.0, -63.4, 0.6])
    packed = quantize({"w": weight})
    assert packed["w"][0, :3].tolist() == [127, -63, 1]
    assert packed["w:scale"].tolist() == pytest.approx([1.0, 1e-12 / 127])
    assert dequantize(packed)["w"][1].abs().max() == 0, "a row of zeros stays one"


def test_vectors_and_small_tensors_keep_sixteen_bits() -> None:
    packed = quantize({"bias": torch.randn(SMALLEST * 2), "small": torch.randn(4, 4)})
    assert {value.dtype for value in packed.values()} == {torch.float16}


def test_pieces_come_back_as_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = {f"w{i}": torch.randn(64, 64, 3) for i in range(5)} | {"b": torch.randn(7)}
    paths = save_pieces(tmp_path / "weights", state, {"config": "{}"}, largest=30_000)
    assert len(paths) == 3  # 12,544 bytes each: two to a piece
    loaded, metadata = read_pieces(tmp_path / "weights")
    assert metadata["config"] == "{}"
    assert loaded.keys() == state.keys()
    for name, value in dequantize(quantize(state)).items():
        torch.testing.assert_close(loaded[name], value, atol=0, rtol=0)


def test_missing_pieces_and_scales_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pieces"):
        read_pieces(tmp_path)
    paths = save_pieces(tmp_path, {f"w{i}": torch.randn(64, 64) for i in range(3)}, {}, largest=5_000)
    paths[1].unlink()
    with pytest.raises(InputError, match="2 of 3 pieces"):
        read_pieces(tmp_path)
    with pytest.raises(InputError, match="scale"):
        dequantize({"w": torch.zeros(2, 2, dtype=torch.int8)})
