"""`vid4d train` from a shard to weights, at the stages that are small enough for any machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mesh_shapes import write_shard
from tiny_frustum import TINY

from vid4d.enhance.sharpener import SHIPPED, load_sharpener
from vid4d.errors import InputError
from vid4d.files.checkpoints import KEY, load_tensors
from vid4d.priors.base import named_object
from vid4d.priors.frustum.network import FrustumVolume
from vid4d.priors.weights.eight_bit import read_pieces, save_pieces
from vid4d.priors.weights.files import config_to_json, fill, load_into, read_metadata, read_weights
from vid4d.training.interpolation import interpolation_model
from vid4d.training.muon import split_for_muon
from vid4d.training.stages import STAGES
from vid4d.training.train import TrainOptions, train


def test_a_training_writes_weights_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    options = TrainOptions(
        "interpolation", tmp_path / "models", tmp_path / "out", batch=1, steps=1, compile=False
    )
    assert train(options)
    model = interpolation_model()
    assert load_into(model, tmp_path / "out" / "weights.safetensors")["stage"] == "interpolation"
    first = {k: v.clone() for k, v in model.state_dict().items()}
    assert train(replace(options, steps=2))
    _, metadata = load_tensors(tmp_path / "out" / "trainer.safetensors")
    assert json.loads(metadata[KEY])["step"] == 2
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


def test_a_sharpener_goes_on_from_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    options = TrainOptions(
        "sharpening",
        tmp_path / "models",
        tmp_path / "out",
        initial=SHIPPED,
        batch=1,
        steps=2,
        optimizer="adam",
        compile=False,
    )
    lines: list[dict[str, float]] = []
    assert train(options, lines.append)
    state, metadata = read_weights(tmp_path / "out" / "weights.safetensors")
    assert metadata["stage"] == "sharpening"
    before = load_sharpener(weights=SHIPPED).state_dict()
    assert before.keys() == state.keys()
    changes = [float((state[name].float() - value).abs().max()) for name, value in before.items()]
    assert 0 < max(changes) < 0.02
    load_sharpener(weights=tmp_path / "out" / "weights.safetensors")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights/part_0.safetensors"])
def test_weights_that_no_training_made_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    options = TrainOptions("interpolation", tmp_path / "models", tmp_path / "out", batch=1, compile=False)
    with pytest.raises(InputError, match="holds no training to continue: name another --out"):
        train(options)
    assert mine.read_text() == "mine"


def test_a_frustum_volume_goes_on_from_its_pieces(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    config = replace(TINY, image_size=128, crop=112, volume_size=56)
    network = FrustumVolume(config)
    save_pieces(tmp_path / "first", network.state_dict(), {"config": config_to_json(config)})
    options = TrainOptions(
        "frustum",
        tmp_path / "models",
        tmp_path / "out",
        initial=tmp_path / "first",
        batch=1,
        steps=2,
        made_up=3,
        compile=False,
    )
    assert train(options)
    state, metadata = read_pieces(tmp_path / "out" / "weights")
    assert metadata["stage"] == "frustum"
    assert metadata["config"] == config_to_json(replace(config, gated=True, detail_stops=True))
    fill(FrustumVolume(replace(config, gated=True)), state, tmp_path / "out")
    before = read_pieces(tmp_path / "first")[0]
    assert any(not torch.equal(state[name], value) for name, value in before.items())
    assert bool(state["gate.bias"].any()), "gates learn"


def test_a_volume_gets_gates_and_draws_the_same_shape(tmp_path: Path) -> None:
    from vid4d.training.networks import frustum_network

    network = FrustumVolume(TINY).eval()
    save_pieces(tmp_path / "first", network.state_dict(), {"config": config_to_json(TINY)})
    fill(network, read_pieces(tmp_path / "first")[0], tmp_path)  # rounded to eight bits
    gated, _ = frustum_network(TrainOptions("frustum", tmp_path, tmp_path, initial=tmp_path / "first"))
    assert gated.config == replace(TINY, gated=True, detail_stops=True)
    picture, elevation = torch.rand(1, 4, 64, 64) * 2 - 1, torch.zeros(1)
    mine, before = gated.eval()(picture, elevation), network(picture, elevation)
    torch.testing.assert_close(mine.logits, before.logits)
    torch.testing.assert_close(mine.elevation, before.elevation)
    torch.testing.assert_close(
        mine.color[:, :, 0], before.color[:, :, 0], msg="seen colors are the picture's"
    )
    save_pieces(tmp_path / "second", gated.state_dict(), {"config": config_to_json(gated.config)})
    again, _ = frustum_network(TrainOptions("frustum", tmp_path, tmp_path, initial=tmp_path / "second"))
    assert again.config == gated.config


def test_each_stage_has_its_own_layers_for_adam() -> None:
    """What one network calls its outer layers is an inner one of another: `leave`, say."""
    interpolator = interpolation_model()
    inner = {id(p) for p in split_for_muon(interpolator, STAGES["interpolation"].outer)[0]}
    outer = {id(p) for p in split_for_muon(interpolator, STAGES["frustum"].outer)[0]}
    assert inner
    assert inner == outer, "names of another network's layers mean nothing here"
    volume = FrustumVolume(TINY)
    inner = {id(p) for p in split_for_muon(volume, STAGES["frustum"].outer)[0]}
    assert id(volume.leave.weight) not in inner
    assert id(volume.joint_blocks[0].qkv.weight) in inner


def test_models_that_priors_are_evaluated_on_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vid4d.training import evaluate
    from vid4d.training.train import view_source

    write_shard(tmp_path / "made.npz")
    options = TrainOptions("frustum", tmp_path, tmp_path, made_up=0)
    assert view_source(options, "cpu", STAGES["frustum"]).bank.names == ["static", "skinned"]
    monkeypatch.setattr(evaluate, "HELD_OUT", {"static": "made"})
    assert view_source(options, "cpu", STAGES["frustum"]).bank.names == ["skinned"]


def test_made_up_things_are_drawn_as_often_as_their_stage_says(tmp_path: Path) -> None:
    from vid4d.training.train import view_source

    write_shard(tmp_path / "made.npz")
    options = TrainOptions("frustum", tmp_path, tmp_path, made_up=3)
    stage = replace(STAGES["frustum"], made_up=2, made_up_share=0.25)
    source = view_source(options, "cpu", stage)
    assert source.bank.names == ["static", "skinned", "made up 0", "made up 1", "made up 2"]
    share = source.weight / source.weight.sum()
    # 0.75 for a static model of weight 1 and a moving one of 6, 0.25 for three made-up things
    torch.testing.assert_close(share, torch.tensor([0.75 / 7, 0.75 * 6 / 7, *[0.25 / 3] * 3]))
    assert len(view_source(replace(options, made_up=None), "cpu", stage).bank) == 4
    assert len(view_source(replace(options, made_up=0), "cpu", stage).bank) == 2
    with pytest.raises(InputError, match="-1 made-up things cannot be drawn"):
        view_source(replace(options, made_up=-1), "cpu", stage)


@pytest.mark.parametrize("name", STAGES)
def test_what_a_row_names_is_in_its_network(name: str, tmp_path: Path) -> None:
    stage = STAGES[name]
    model, _ = named_object(stage.network)(TrainOptions(name, tmp_path, tmp_path))
    layers = [layer for layer, module in model.named_modules() if list(module.parameters(recurse=False))]
    assert all(any(layer.endswith(end) for layer in layers) for end in stage.outer)
    for part in stage.compiled:
        owner, _, own = part.rpartition(".")
        assert callable(getattr(model.get_submodule(owner), own))
    assert callable(named_object(stage.data))
    assert callable(named_object(stage.loss))


def test_a_stage_is_added_by_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    write_shard(tmp_path / "models" / "made.npz")
    row = replace(STAGES["interpolation"], views={"size": 32}, outer=("lastconv.0",))
    monkeypatch.setitem(STAGES, "smaller", row)
    options = TrainOptions("smaller", tmp_path / "models", tmp_path / "out", batch=1, steps=1, compile=False)
    assert train(options)
    assert read_metadata(tmp_path / "out" / "weights.safetensors")["stage"] == "smaller"
    with pytest.raises(InputError, match=r"no stage 'larger': choose one of interpolation, .*, smaller"):
        train(replace(options, stage="larger"))
