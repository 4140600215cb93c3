"""Enough of Triton's language, in torch, to run the kernels of `vid4d.priors.fused_kernels` without a GPU.

Every program of the grid runs in turn; pointers are flat tensors with offsets, and an access outside of the
tensor that is not masked is an error.
"""

from __future__ import annotations

import importlib.util
import sys
from itertools import product
from types import ModuleType, SimpleNamespace

import torch

_program: tuple[int, ...] = ()


class Pointer:
    def __init__(self, memory: torch.Tensor, offset: torch.Tensor | int = 0) -> None:
        self.memory, self.offset = memory, torch.as_tensor(offset)
        self.dtype = SimpleNamespace(element_ty=memory.dtype)

    def __add__(self, more: torch.Tensor | int) -> Pointer:
        return Pointer(self.memory, self.offset + more)

    def at(self, mask: torch.Tensor) -> torch.Tensor:
        offset, mask = torch.broadcast_tensors(self.offset, mask)
        inside = (offset >= 0) & (offset < self.memory.numel())
        assert inside[mask].all(), "an access outside of the tensor"
        return offset


def load(pointer: Pointer, mask: torch.Tensor, other: float) -> torch.Tensor:
    offset = pointer.at(mask)
    found = pointer.memory[torch.where(mask, offset, 0)]
    return torch.where(mask, found, torch.tensor(other, dtype=found.dtype))


def store(pointer: Pointer, value: torch.Tensor, mask: torch.Tensor) -> None:
    offset = pointer.at(mask)
    assert value.shape == offset.shape
    pointer.memory[offset[mask]] = value[mask].to(pointer.memory.dtype)


def _where(mask: torch.Tensor, x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
    return torch.where(mask, x, torch.as_tensor(y, dtype=x.dtype))


class Kernel:
    def __init__(self, function) -> None:
        self.function = function

    def __getitem__(self, grid: tuple[int, ...]):
        def launch(*arguments) -> None:
            global _program
            for a in arguments:
                assert not isinstance(a, torch.Tensor) or a.is_contiguous()
            given = [Pointer(a.view(-1)) if isinstance(a, torch.Tensor) else a for a in arguments]
            for _program in product(*map(range, grid)):
                self.function(*given)

        return launch


def _language() -> ModuleType:
    tl = ModuleType("triton.language")
    tl.constexpr = int
    tl.float32, tl.int64 = torch.float32, torch.int64
    tl.program_id = lambda axis: torch.tensor(_program[axis], dtype=torch.int32)
    tl.arange = lambda start, end: torch.arange(start, end, dtype=torch.int32)
    tl.zeros = lambda shape, dtype: torch.zeros(shape, dtype=dtype)
    tl.load, tl.store = load, store
    tl.sum = lambda x, axis: x.sum(axis)
    tl.max = lambda x, axis: x.amax(axis)
    tl.exp = torch.exp
    tl.where = _where
    tl.maximum = lambda x, least: x.clamp(min=least)
    tl.sqrt, tl.sigmoid, tl.erf = torch.sqrt, torch.sigmoid, torch.erf
    return tl


def kernels() -> ModuleType:
    """`vid4d.priors.fused_kernels` as it is, on top of this."""
    triton = ModuleType("triton")
    triton.jit = Kernel
    triton.cdiv = lambda a, b: -(-a // b)
    triton.next_power_of_2 = lambda n: 1 << (n - 1).bit_length()
    triton.language = _language()
    kept = {name: sys.modules.get(name) for name in ("triton", "triton.language")}
    sys.modules |= {"triton": triton, "triton.language": triton.language}
    try:
        spec = importlib.util.find_spec("vid4d.priors.fused_kernels")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name, was in kept.items():
            if was is None:
                del sys.modules[name]
            else:
                sys.modules[name] = was
    return module
