"""Networks are loaded once in a block, and anew outside of one."""

from __future__ import annotations

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


def test_the_shipped_networks_are():
    with networks_kept():
        assert load_interpolator() is load_interpolator("small", "cpu")
        assert load_frustum_volume("cpu") is load_frustum_volume("cpu")
    assert load_interpolator() is not load_interpolator()
