"""CUDA graphs on a processor: a recording is the function, called again with what is in its buffers."""

from contextlib import nullcontext

import torch

from vid4d.kernels import cuda_graphs
from vid4d.kernels.cuda_graphs import Recording


class Recordings(list):
    """The functions that were recorded. used: tells the tensors and numbers that they read and write."""

    used = staticmethod(lambda: [])

    def record(self, function, inputs, pool=None, stream=None):
        """Nothing is computed yet, and the inputs may change."""
        self.append(function)
        buffers, outputs = tuple(x.clone() for x in inputs), []
        return Recording(Played(function, buffers, outputs, self.used), buffers, outputs)


class Played:
    """Stands for a CUDA graph, which would go on to use the tensors that were there when it was recorded."""

    def __init__(self, function, inputs, outputs, used):
        self.function, self.inputs, self.outputs = function, inputs, outputs
        self.used, self.then = used, used()

    def replay(self):
        for now, then in zip(self.used(), self.then, strict=True):
            assert now is then if isinstance(then, torch.Tensor) else now == then, "a stale recording"
        self.outputs[:] = self.function(*self.inputs)


def recordings_in(monkeypatch):
    """Puts recordings in the place of CUDA graphs."""
    made = Recordings()
    monkeypatch.setattr(cuda_graphs, "record", made.record)
    monkeypatch.setattr(cuda_graphs, "aside", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    return made
