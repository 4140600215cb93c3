"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as vid4d.cli does, before torch is imported
if not Path("/dev/nvidiactl").exists():  # read when Triton is imported: its kernels then run without a GPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with reference data, models and clips beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name}/ folder beside the checkout: reference data not available")
    return SHARED
