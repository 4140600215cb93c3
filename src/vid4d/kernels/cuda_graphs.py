"""CUDA graphs: what a function does to its inputs is recorded once, then played again with one call.

Starting a kernel from Python takes 5 to 20 microseconds, longer than many kernels of a network run for: a
UNet at 32 x 32 latents spends three quarters of its time waiting for the next start.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]

WARM_UP = 3
"""Calls before the recording, in which libraries choose their kernels and set aside memory."""


@contextmanager
def _random_numbers_after_failure() -> Iterator[None]:
    """A recording that fails would leave the generator in a state in which nothing can be drawn."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    before = generator.clone_state()
    try:
        yield
    except BaseException:
        generator.graphsafe_set_state(before)
        raise


@contextmanager
def _nothing_thrown_away() -> Iterator[None]:
    """No collection of garbage: an older graph that it found would be destroyed, which ends a recording."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Recording(NamedTuple):
    """What a function did, where it reads its inputs, and where it leaves its outputs."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Outputs for other inputs of the same shapes, which later calls do not overwrite."""
        for buffer, value in zip(self.inputs, inputs, strict=True):
            buffer.copy_(value)
        self.graph.replay()
        return tuple(x.clone() for x in self.outputs)


def record(function: Function, inputs: Sequence[Tensor], pool: Any = None) -> Recording:
    """What a function does to inputs, noted without being done. The function is as for `CudaGraphed`.

    It must have been called before, `aside`, with its leaves if it computes gradients, so that its
    kernels are built. pool: of memory (`torch.cuda.graph_pool_handle`), shared with recordings whose outputs
    are kept and which are never played at the same time.
    """
    buffers, graph = tuple(x.clone() for x in inputs), torch.cuda.CUDAGraph()
    # "thread_local": what other threads of a program ask from the card does not end the recording
    noting = torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")
    with _nothing_thrown_away(), _random_numbers_after_failure(), noting:
        outputs = function(*buffers)
    return Recording(graph, buffers, outputs)


@contextmanager
def aside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on a stream of its own, in its turn: autograd remembers where a leaf was used first, and what it
    saw on the usual stream cannot be recorded."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


class CudaGraphed:
    """A function of tensors whose work on a graphics card is recorded once for each set of shapes.

    function: must do the same work whatever the numbers in its inputs, without asking the device for any;
        may compute gradients inside, while its inputs and outputs have none. What else it reads (weights,
        say) must stay where it is and keep its shape.
    keep: sets of shapes, for each of which the memory that the function needs is set aside; the one that was
        used longest ago goes first.

    On a processor, the function is simply called. Errors of the function are raised as they are, those of
    the recording, too: a function that waits for the device cannot be recorded.
    """

    def __init__(self, function: Function, keep: int = 2) -> None:
        self.function, self.keep = function, keep
        self._recordings: OrderedDict[tuple[object, ...], Recording] = OrderedDict()

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not inputs[0].is_cuda:
            return self.function(*inputs)
        key = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        if key not in self._recordings:
            while len(self._recordings) >= self.keep:
                self._recordings.popitem(last=False)
            with torch.cuda.device(inputs[0].device):
                self._recordings[key] = self._record(inputs)
        self._recordings.move_to_end(key)
        return self._recordings[key].replay(inputs)

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        tuned = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
        with tuned:
            with aside(torch.cuda.Stream()):
                for _ in range(WARM_UP):
                    self.function(*inputs)
            return record(self.function, inputs)
