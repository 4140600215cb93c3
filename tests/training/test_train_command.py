"""`vid4d train` from a shard to a weights file, at the one stage that is small enough for any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from mesh_shapes import write_shard
from tiny_prior import CONFIG, LIFT

from vid4d.priors.weights import load_into
from vid4d.training.cli import TrainOptions, train
from vid4d.training.interpolation import interpolation_model


def test_a_training_writes_weights_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    options = TrainOptions(
        "interpolation", tmp_path / "models", tmp_path / "out", batch=1, steps=1, compile=False
    )
    assert train(options)
    model = interpolation_model()
    assert load_into(model, tmp_path / "out" / "weights.safetensors") == {"stage": "interpolation"}
    first = {k: v.clone() for k, v in model.state_dict().items()}
    assert train(replace(options, steps=2))
    state = torch.load(tmp_path / "out" / "trainer.pt", weights_only=True)
    assert state["step"] == 2
    load_into(model, tmp_path / "out" / "weights.safetensors")
    assert any(not torch.equal(v, first[k]) for k, v in model.state_dict().items())
    again = replace(
        options, out=tmp_path / "more", initial=tmp_path / "out" / "weights.safetensors", steps=50
    )
    lines: list[dict[str, float]] = []
    assert not train(replace(again, until=-1.0), lines.append), "left off at once"
    assert lines == []
    started = interpolation_model()
    load_into(started, tmp_path / "more" / "weights.safetensors")
    for name, value in started.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_stage_starts_from_its_own_weights_and_from_those_it_shares(tmp_path: Path) -> None:
    from vid4d.priors.lifting import Lifter
    from vid4d.priors.small import SmallPrior
    from vid4d.priors.weights import save_weights
    from vid4d.training.cli import _load_initial

    prior, lifter = SmallPrior(CONFIG), Lifter(LIFT)
    save_weights(tmp_path / "prior.safetensors", prior.state_dict(), {}, torch.float32)
    save_weights(tmp_path / "lifter.safetensors", lifter.state_dict(), {}, torch.float32)
    name = "volume.base"
    _load_initial(fresh := Lifter(LIFT), tmp_path / "prior.safetensors")
    assert torch.equal(fresh.state_dict()[name], prior.state_dict()["lifter." + name])
    _load_initial(whole := SmallPrior(CONFIG), tmp_path / "lifter.safetensors")
    assert torch.equal(whole.state_dict()["lifter." + name], lifter.state_dict()[name])
    _load_initial(whole, tmp_path / "prior.safetensors")
    assert all(torch.equal(v, prior.state_dict()[k]) for k, v in whole.state_dict().items())
