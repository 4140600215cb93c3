"""The training loop: it learns, its average is what the formula says, and a resumed run is the same run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from vid4d.cameras import Cameras
from vid4d.commands.train import Train
from vid4d.errors import InputError
from vid4d.training.trainer import SideStream, Trainer, TrainerConfig, _tensors


def toy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


def toy_loss(model: nn.Module, pause: float = 0.0) -> Any:
    """Regression on data that depend on the step alone; the first step takes `pause` seconds."""

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step == 0:
            time.sleep(pause)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        error = (model(x) - x[:, :1] + 2 * x[:, 1:2]).square().mean()
        return error, {"error": error.detach()}

    return loss


def test_the_loss_falls_and_the_log_says_so(tmp_path: Path) -> None:
    model = toy()
    config = TrainerConfig(steps=400, lr=1e-2, warmup=10, log_every=20)
    reported: list[dict[str, Any]] = []
    assert Trainer(model, toy_loss(model), config, tmp_path).run(report=reported.append)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log == reported
    assert [entry["step"] for entry in log] == list(range(20, 401, 20))
    first, last = (sum(e["loss"] for e in part) / 4 for part in (log[:4], log[-4:]))
    assert last < 0.1 * first
    assert log[0]["error"] == log[0]["loss"]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, optimizer: str) -> None:
    config = TrainerConfig(steps=45, lr=1e-2, warmup=10, optimizer=optimizer)
    whole = Trainer(toy(), lambda step: (torch.zeros(()), {}), config, tmp_path / "whole")
    whole.loss = toy_loss(whole.model)
    assert whole.run()

    first = Trainer(toy(), lambda step: (torch.zeros(()), {}), config, tmp_path / "parts")
    first.loss = toy_loss(first.model, pause=0.6)
    assert not first.resume()
    assert not first.run(until=0.5), "left off"
    assert first.step == 20
    second = Trainer(toy(), lambda step: (torch.zeros(()), {}), config, tmp_path / "parts")
    second.loss = toy_loss(second.model)
    assert second.resume()
    assert (second.step, second.elapsed > 0.5) == (20, True)
    assert second.run()
    assert second.step == whole.step == 45
    for mine, theirs in zip(second.parameters + second.ema, whole.parameters + whole.ema, strict=True):
        assert torch.equal(mine, theirs)


def test_a_checkpoint_of_another_network_is_refused_in_a_sentence(tmp_path: Path) -> None:
    config = TrainerConfig(steps=3)
    first = toy()
    assert Trainer(first, toy_loss(first), config, tmp_path).run()
    other = nn.Linear(4, 1)
    with pytest.raises(InputError, match="belongs to another network or optimiser"):
        Trainer(other, toy_loss(other), config, tmp_path).resume()
    again = toy()
    trainer = Trainer(again, toy_loss(again), TrainerConfig(steps=3, optimizer="muon"), tmp_path)
    with pytest.raises(InputError, match="delete it"):
        trainer.resume()


def test_the_average_by_hand(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    path = [model.weight.detach().clone()]

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step:
            path.append(model.weight.detach().clone())
        return model(torch.ones(1, 1)).square().mean(), {}

    trainer = Trainer(model, loss, TrainerConfig(steps=2, warmup=1, lr=0.1), tmp_path)
    trainer.run()
    path.append(model.weight.detach().clone())
    # decays (1 + step) / (10 + step): 1/10, then 2/11
    average = path[0] * 0.1 + path[1] * 0.9
    average = average * (2 / 11) + path[2] * (9 / 11)
    assert float((path[2] - path[0]).abs()) > 0.05
    torch.testing.assert_close(trainer.averaged_state()["weight"], average)
    assert torch.equal(model.weight.detach(), path[2])


def test_the_learning_rate_warms_up_and_falls_to_its_share(tmp_path: Path) -> None:
    trainer = Trainer(
        nn.Linear(1, 1), toy_loss(toy()), TrainerConfig(steps=1000, seconds=100.0, warmup=100), tmp_path
    )
    rates = {}
    for step, elapsed in ((0, 0.0), (49, 0.0), (500, 0.0), (100, 50.0), (1000, 0.0)):
        trainer.step, trainer.elapsed = step, elapsed
        rates[step, elapsed] = trainer._lr() / 4e-4
    assert rates[0, 0.0] == pytest.approx(0.01)
    assert rates[49, 0.0] == pytest.approx(0.5, abs=0.01)
    assert rates[500, 0.0] == pytest.approx(0.51)  # halfway between 1 and 0.02
    assert rates[100, 50.0] == pytest.approx(0.51)  # half of the time is gone
    assert rates[1000, 0.0] == pytest.approx(0.02)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy()
    trainer = Trainer(model, toy_loss(model), TrainerConfig(steps=3), tmp_path)
    trainer.run()
    whole = trainer.checkpoint.read_bytes()

    def broken(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    with pytest.raises(OSError, match="no space"):
        trainer.save()
    assert trainer.checkpoint.read_bytes() == whole
    assert trainer.resume()
    assert trainer.step == 3


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = toy()
    model[0].requires_grad_(False)  # type: ignore[index]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer = Trainer(model, toy_loss(model), TrainerConfig(steps=5, warmup=1, lr=1e-2), tmp_path)
    trainer.run()
    after = trainer.averaged_state()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["2.weight"], before["2.weight"])
    assert after.keys() == before.keys()


def test_batches_are_reused_as_often_as_asked() -> None:
    drawn: list[int] = []

    def draw() -> int:
        drawn.append(len(drawn))
        return drawn[-1]

    stream = SideStream(draw, torch.device("cpu"), reuse=2)
    assert [stream.next() for _ in range(5)] == [0, 0, 1, 1, 2]


def test_tensors_of_a_batch_include_its_cameras() -> None:
    @dataclass
    class Batch:
        picture: Tensor
        cameras: Cameras
        name: str

    cameras = Cameras.ring(2, size=8)
    found = list(_tensors(Batch(torch.zeros(3), cameras, "x")))
    assert [t.shape for t in found] == [(3,), (2, 4, 4), (2,)]


def test_a_missing_folder_of_models_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of models"):
        Train("lift", tmp_path / "none", tmp_path / "out").run()
