"""Networks are loaded once in a block, and anew outside of one."""

from __future__ import annotations

import errno

import pytest

from vid4d.errors import InputError, MachineError, blames_input, blames_machine
from vid4d.priors.frustum.prior import load_frustum_volume
from vid4d.priors.interpolators import load_interpolator
from vid4d.priors.weights.loaded import loaded_once, networks_kept


def test_loaded_once_in_a_block_by_its_arguments():
    loads = []

    @loaded_once
    def load(device: str = "cpu", size: int = 1) -> object:
        loads.append((device, size))
        return object()

    assert load() is not load()
    with networks_kept():
        first = load()
        assert load("cpu") is load(device="cpu", size=1) is first
        with networks_kept():
            assert load() is first
        assert load("cuda") is not first
        assert load(size=2) is not first
    assert load() is not first
    assert loads == [("cpu", 1)] * 3 + [("cuda", 1), ("cpu", 2), ("cpu", 1)]


def test_weights_that_cannot_be_loaded_are_the_machines_fault():
    @loaded_once
    def load(file: str) -> object:
        raise InputError(f"{file} is damaged: fetch it again")

    def refuse() -> None:
        with pytest.raises(MachineError, match="a is damaged: fetch it again"):
            load("a")

    refuse()
    with networks_kept():
        refuse()


def test_whose_fault_an_error_is():
    def coming_from(cause: BaseException) -> InputError:
        error = InputError("this cannot be read")
        error.__cause__ = cause
        return error

    assert blames_input(coming_from(ValueError("no frame")))
    assert not blames_input(RuntimeError("a fault of the program"))
    for cause in (MachineError("no room"), MemoryError(), OSError(errno.EIO, "Input/output error")):
        assert not blames_input(coming_from(coming_from(cause)))
    assert blames_machine(coming_from(MachineError("no room")))
    assert not blames_machine(coming_from(MemoryError()))  # which may be for the clip's own size


def test_the_shipped_networks_are():
    with networks_kept():
        assert load_interpolator() is load_interpolator("small", "cpu")
        assert load_frustum_volume("cpu") is load_frustum_volume("cpu")
    assert load_interpolator() is not load_interpolator()
