"""Availability of our kernels, and that all of them can be built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from vid4d import kernels
from vid4d.priors.layers.fused_ops import is_channels_last


def test_where_kernels_cannot_be_built_it_is_said_and_plain_torch_serves(monkeypatch):
    def broken(device):
        raise RuntimeError("Failed to find C compiler.\nand more")

    cpu = torch.device("cpu")
    monkeypatch.setattr(kernels.util, "find_spec", lambda name: object())
    monkeypatch.setattr(kernels, "build_one", broken)
    with pytest.warns(UserWarning, match=r"\(Failed to find C compiler\.\): plain torch"):
        assert not kernels.buildable.__wrapped__(cpu)
    monkeypatch.setattr(kernels, "build_one", lambda device: None)
    assert kernels.buildable.__wrapped__(cpu)
    monkeypatch.setattr(kernels.util, "find_spec", lambda name: None)
    assert not kernels.buildable.__wrapped__(cpu)


def test_the_smallest_kernel_runs():
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: kernels are compiled, and tested on the GPU")
    kernels.build_one(torch.device("cpu"))


def test_they_serve_no_tensor_of_the_processor():
    assert not kernels.available(torch.zeros(1))


def test_channels_last_moves_numbers_only():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(2, 5, 3), nn.Linear(3, 2))
    before = [p.clone() for p in net.parameters()]
    kernels.channels_last(net)
    for old, new in zip(before, net.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.ndim < 4 or is_channels_last(new)


def test_kernels_compile_for_a_card_that_is_not_here(tmp_path):
    """All kernels compile, not only run in the interpreter."""
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    program = Path(__file__).parents[1] / "compile_kernels.py"
    told = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, program], env=os.environ | told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    source = "".join(path.read_text() for path in Path(kernels.__file__).parents[1].rglob("*_kernels.py"))
    assert set(done.stdout.split()) == set(re.findall(r"def (\w+_kernel)\(", source))
