"""Devices: those of this machine are named where another is asked for."""

from __future__ import annotations

import pytest
import torch

from vid4d.compute import machine
from vid4d.compute.machine import devices_here, resolve_device
from vid4d.errors import MachineError


def refusal(name: str) -> str:
    with pytest.raises(MachineError) as refused:
        resolve_device(name)
    return str(refused.value)


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:77", "mps:7", "hpu", "vulkan", "meta", "opengl", "", "two\nlines"]
)
def test_a_device_that_is_not_here_is_one_short_sentence_with_those_that_are(name):
    said = refusal(name)
    assert said.startswith(f"device {name!r} cannot be used here (")
    assert said.endswith(f"use --device {' or '.join(['auto', *devices_here()])}")
    assert len(said) < 200
    assert "\n" not in said


def test_each_device_that_is_named_can_be_used():
    assert [resolve_device(name) for name in devices_here()] == devices_here()
    assert devices_here()[0] == "cpu"


def test_what_torch_says_of_a_device_that_is_here_is_told(monkeypatch):
    """A card that another program fills is there: the reason is told, and the others are the ways out."""

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory.\nTried to allocate " + "x" * 3000)

    monkeypatch.setattr(machine, "devices_here", lambda: ["cpu", "cuda:0", "cuda:1"])
    monkeypatch.setattr(torch, "ones", full)
    for name in ("cuda", "cuda:0"):
        assert refusal(name) == (
            f"device {name!r} cannot be used here (CUDA out of memory): use --device cpu or cuda:1"
        )
    for name in ("auto", "cpu", "cuda", "cuda:1"):
        machine.check_device(name)  # touches none
    with pytest.raises(MachineError):
        machine.check_device("cuda:2")
    said = refusal("cuda:2")
    assert said.endswith("(it is none of this machine's): use --device auto or cpu or cuda:0 or cuda:1")
