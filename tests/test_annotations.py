"""Shapes and types in signatures are checked while tests run: a wrong one is told (annotations.py)."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from vid4d.cameras import Cameras
from vid4d.media.images import over_white
from vid4d.settings import Settings


def test_a_wrong_shape_for_a_function_is_told() -> None:
    assert over_white(torch.zeros(2, 2, 4)).shape == (2, 2, 3)
    with pytest.raises(TypeCheckError, match="over_white"):
        over_white(torch.zeros(4, 2, 2))


def test_a_wrong_value_for_a_dataclass_is_told() -> None:
    with pytest.raises(TypeCheckError, match="Cameras"):
        Cameras(torch.eye(4)[None], torch.ones(1), width="8", height=8)  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError, match="Settings"):
        Settings(seed="zero")  # type: ignore[arg-type]


def test_sizes_of_the_same_name_have_to_agree() -> None:
    with pytest.raises(TypeCheckError, match="Cameras"):
        Cameras(torch.eye(4).expand(2, 4, 4), torch.ones(3), width=8, height=8)
