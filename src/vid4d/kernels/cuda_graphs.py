"""CUDA graphs: what a function does to its inputs is recorded once, then played again with one call.

Starting a kernel from Python takes 5 to 20 microseconds, longer than many kernels of a network run for: a
UNet at 32 x 32 latents spends three quarters of its time waiting for the next start.
"""

from __future__ import annotations

import gc
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vid4d.kernels import on_device_of

Function = Callable[..., tuple[Tensor, ...]]

WARM_UP = 3
"""Calls before the recording, in which libraries choose their kernels and set aside memory."""

_recording = threading.Lock()

BEFORE = 2
"""Calls of a kind that a `Recorder` lets through: they build kernels and tables."""


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


def record(
    function: Function, inputs: Sequence[Tensor], pool: Any = None, stream: torch.cuda.Stream | None = None
) -> Recording:
    """What a function does to inputs, noted without being done. The function is as for `CudaGraphed`.

    It must have been called before, `aside`, with its leaves if it computes gradients, so that its
    kernels are built. pool: of memory (`torch.cuda.graph_pool_handle`), shared with recordings on the same
    stream whose outputs are kept and which are never played at the same time. stream: of the card that is the
    current one; a new one where not given, since torch's own belongs to the card that recorded first, and
    notes nothing of another.

    One recording at a time is made in a program; other threads may use the card meanwhile.
    """
    buffers, graph = tuple(x.clone() for x in inputs), torch.cuda.CUDAGraph()
    noting = torch.cuda.graph(
        graph, pool=pool, stream=stream or torch.cuda.Stream(), capture_error_mode="thread_local"
    )
    with _recording, _nothing_thrown_away(), _random_numbers_after_failure(), noting:
        outputs = function(*buffers)
    return Recording(graph, buffers, outputs)


@contextmanager
def aside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on a stream of its own, in its turn: autograd remembers where a leaf was used first, and what it
    saw on the usual stream cannot be recorded."""
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
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


class Recorder:
    """Does work on a graphics card: of each kind a few times as ever, then recorded.

    Recordings read and write the tensors that the work did when it was recorded: `forget` them whenever one
    of these moves. The work is given with each call, so whatever it belongs to owns its recordings and takes
    them along when it goes.

    pure: the work changes no tensors. Where too little memory is free to record it, it goes on as ever, with
        a warning; other work may have changed something by then, and its error is raised.
    """

    def __init__(self, *, pure: bool = False) -> None:
        self._pure = pure
        self._stream: torch.cuda.Stream | None = None
        self.forget()

    def forget(self) -> None:
        """All is recorded anew, from the next calls on."""
        self._recordings: dict[Hashable, Recording] = {}
        self._done: dict[Hashable, int] = {}
        self._pool: Any = None  # one that nothing uses any more is given back

    def __call__(
        self, kind: Hashable, work: Function, inputs: Sequence[Tensor], *, recordable: bool = True
    ) -> tuple[Tensor, ...]:
        """Outputs of the work. kind: what decides which kernels it starts, besides the numbers in its inputs.

        recordable: whether it asks nothing from the device from now on.
        """
        return on_device_of(inputs[0], lambda: self._play(kind, work, inputs, recordable))

    def _play(
        self, kind: Hashable, work: Function, inputs: Sequence[Tensor], recordable: bool
    ) -> tuple[Tensor, ...]:
        if kind not in self._recordings:
            done = self._done.get(kind, 0)
            if recordable and done == BEFORE:
                self._record(kind, work, inputs)
            self._done[kind] = min(done + recordable, BEFORE + 1)
        if kind not in self._recordings:
            self._stream = self._stream or torch.cuda.Stream()
            with aside(self._stream):
                return work(*inputs)
        return self._recordings[kind].replay(inputs)

    def _record(self, kind: Hashable, work: Function, inputs: Sequence[Tensor]) -> None:
        """Tries once: recordings have memory of their own, beside what work as ever has set aside."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            self._recordings[kind] = record(work, inputs, self._pool, self._stream)
        except torch.OutOfMemoryError:
            if not self._pure:
                raise
            warnings.warn(
                "too little memory is free on the card to record what it does: it goes on unrecorded, which "
                "is slower",
                stacklevel=2,
            )
            torch.cuda.empty_cache()
