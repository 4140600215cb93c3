"""Adam by a kernel against Adam in torch: rows that are seen, rows that are not, rates by column."""

from __future__ import annotations

import os

import pytest
import torch

from vid4d.gaussians import adam
from vid4d.gaussians.raster import cpu

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(
    ("kernel", "device"), [("c", "cpu"), ("triton", "cpu"), pytest.param("triton", "cuda", marks=on_gpu)]
)
@pytest.mark.parametrize("by_row", [False, True])
def test_the_kernel_does_what_torch_does(monkeypatch, kernel, device, by_row):
    """Rates that are numbers, and rates on the device for each number of a row."""
    if kernel == "triton":
        pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
        if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("TRITON_INTERPRET is not 1: kernels are compiled, and tested on the GPU")
    elif cpu.obstacle():
        pytest.skip(cpu.obstacle())
    g = torch.Generator().manual_seed(0)
    shapes = {"means": (300, 4), "opacity_logits": (300,), "sh": (300, 4, 1, 3)}
    start = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    by_column = torch.tensor([1e-2, 2e-2, 0.0, 1e-3])
    by_number = torch.linspace(1e-3, 1e-2, 12).view(4, 1, 3)
    optimizers = []
    for on in (True, False):
        monkeypatch.setattr(adam, "available", lambda x, on=on: on and kernel == "triton")
        monkeypatch.setattr(adam.SplatAdam, "_in_c", lambda self, on=on: on and kernel == "c")
        place = device if on else "cpu"
        optimizer = adam.SplatAdam({k: v.to(place) for k, v in start.items()})
        g = torch.Generator().manual_seed(1)
        for step in range(5):
            for name, parameter in optimizer.parameters.items():
                if name != "sh" or step != 2:  # one without a gradient
                    parameter.grad = torch.randn(shapes[name], generator=g).to(place)
            visible = torch.rand(300, generator=g) < 0.6
            visible[7] = False
            rates = {"means": by_column.to(place), "opacity_logits": 0.05, "sh": 3e-3}
            if by_row:
                rates |= {"opacity_logits": torch.tensor(0.05, device=place), "sh": by_number.to(place)}
            optimizer.step(rates, visible.to(place))
            assert all(parameter.grad is None for parameter in optimizer.parameters.values())
        optimizers.append(optimizer)
    ours, plain = (optimizer.state() for optimizer in optimizers)
    assert set(ours) == set(plain)
    for name, value in plain.items():
        torch.testing.assert_close(ours[name].cpu(), value, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: n + m)
    assert torch.equal(ours["parameter.means"][7].cpu(), start["means"][7])
    assert torch.equal(ours["parameter.means"][:, 2].cpu(), start["means"][:, 2])
    assert not torch.equal(ours["parameter.means"][:, 1].cpu(), start["means"][:, 1])


def test_the_c_kernel_serves_plain_parameters_of_the_processor_only():
    single, double = torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.float64)
    assert adam.SplatAdam({"means": single})._in_c() == (not cpu.obstacle())
    assert not adam.SplatAdam({"means": double})._in_c()
