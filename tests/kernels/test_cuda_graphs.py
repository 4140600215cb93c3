"""CUDA graphs of a function: the same numbers, for every set of shapes; a plain call on a processor."""

from __future__ import annotations

import gc
from contextlib import nullcontext

import pytest
import torch

from vid4d.kernels import cuda_graphs
from vid4d.kernels.cuda_graphs import CudaGraphed

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def slope(x, y):
    """A function and its gradient, which is 3 x^2 y."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = (leaf**3 * y).sum()
        return value.detach(), torch.autograd.grad(value, leaf)[0]


def test_on_a_processor_it_is_a_call():
    calls = []
    recorded = CudaGraphed(lambda *x: calls.append(x) or slope(*x))
    for size in (3, 3, 5):
        x, y = torch.rand(size), torch.rand(size)
        torch.testing.assert_close(recorded(x, y)[1], 3 * x**2 * y)
    assert len(calls) == 3


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
def test_it_plays_what_was_recorded(device):
    """Called from Python only while it is recorded, and right for other numbers and shapes afterwards."""
    calls = []
    recorded = CudaGraphed(lambda *x: calls.append(x) or slope(*x), keep=2)
    kept = []
    for size in (3, 3, 5, 3, 5, 5):
        x, y = torch.rand(size, device=device), torch.rand(size, device=device)
        kept.append((recorded(x, y), x, y))
    assert len({len(x) for x, _ in calls}) == 2
    assert len(calls) == 2 * 4
    for (value, gradient), x, y in kept:  # earlier answers are not overwritten by later ones
        torch.testing.assert_close(value, (x**3 * y).sum())
        torch.testing.assert_close(gradient, 3 * x**2 * y)
    recorded(torch.rand(7, device=device), torch.rand(7, device=device))
    assert len(recorded._recordings) == 2
    recorded(x, y)
    assert len(calls) == 3 * 4  # the latest of the others had stayed


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
def test_what_waits_for_the_device_cannot_be_recorded(device):
    recorded = CudaGraphed(lambda x: (x * x.sum().item(),))
    with pytest.raises(RuntimeError):
        recorded(torch.ones(2, device=device))
    assert torch.randn(100, device=device).std() > 0  # the generator is of use again


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("collecting", [False, True])
def test_no_garbage_is_collected_while_recording(monkeypatch, fails, collecting):
    """An older graph would be destroyed in the middle of it."""
    monkeypatch.setattr(cuda_graphs, "_random_numbers_after_failure", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **options: nullcontext())
    seen = []

    def function(x):
        seen.append(gc.isenabled())
        if fails:
            raise RuntimeError("it failed")
        return (x,)

    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(RuntimeError, match="it failed") if fails else nullcontext():
            cuda_graphs.record(function, [torch.ones(2)])
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
    assert seen == [False]


def test_work_goes_on_where_there_is_no_memory_to_record_it(recorded, monkeypatch):
    """Tried once a kind; what changes tensors may not be done a second time."""
    tried = []

    def refuse(work, inputs, *_):
        tried.append(work)
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(cuda_graphs, "record", refuse)
    recorder = cuda_graphs.Recorder(pure=True)
    with pytest.warns(UserWarning, match="goes on unrecorded"):
        outputs = [recorder("double", lambda x: (2 * x,), [torch.tensor(float(i))])[0] for i in range(6)]
    assert [float(x) for x in outputs] == [0, 2, 4, 6, 8, 10]
    assert len(tried) == 1
    other = cuda_graphs.Recorder()
    for _ in range(cuda_graphs.BEFORE):
        other("double", lambda x: (x.mul_(2),), [torch.ones(())])
    with pytest.raises(torch.OutOfMemoryError):
        other("double", lambda x: (x.mul_(2),), [torch.ones(())])


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_every_card_records_its_own():
    """Also the second one, after the first has recorded."""
    for device in ("cuda:0", "cuda:1"):
        total, recorder = torch.zeros((), device=device), cuda_graphs.Recorder()
        for _ in range(6):
            (out,) = recorder("sum", lambda x, total=total: (total.add_(x),), [torch.ones((), device=device)])
        assert float(out) == float(total) == 6
