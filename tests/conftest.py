"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from annotations import check_annotations

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as vid4d.cli does, before torch is imported
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:  # which share the cores: more threads than those would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
if not Path("/dev/nvidiactl").exists():  # read when Triton is imported: its kernels then run without a GPU
    os.environ.setdefault("TRITON_INTERPRET", "1")
check_annotations()  # before any test imports the package

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with reference data, models and clips beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name}/ folder beside the checkout: reference data not available")
    return SHARED


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: for what a user may pass in spite of them, and must be told about."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def recorded(monkeypatch):
    """Recordings of CUDA graphs on a processor; the list of their functions."""
    from recorded_calls import recordings_in

    return recordings_in(monkeypatch)
