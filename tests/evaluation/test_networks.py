"""LPIPS, CLIP and FVD with small stand-ins: known identities, what is refused, what is told to be missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused
from evaluated import SIZE, evaluated, truth_of
from exported import ball_asset
from safetensors.torch import load_file, save_file

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.i3d import BRANCHES, MIXED, InceptionI3d, same
from vid4d.evaluation.networks import (
    VGG_STAGES,
    Lpips,
    Networks,
    Vgg16,
    clip_input,
    load_clip,
    load_i3d,
    load_lpips,
    load_networks,
    video_input,
)

WIDTHS = (2, 2, 3, 3, 2, 2, 2, 2, 2, 2, 3, 3, 3)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def vgg(tmp_path) -> tuple[Path, Path]:
    """A thin VGG-16 and heads that weigh everything alike, as their packages keep them."""
    torch.manual_seed(0)
    trunk = Vgg16(WIDTHS)
    state = trunk.state_dict() | {"classifier.0.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "vgg.pth")
    ends = [WIDTHS[sum(VGG_STAGES[: i + 1]) - 1] for i in range(5)]
    torch.save(
        {f"lin{i}.model.1.weight": torch.full((1, n, 1, 1), 0.5) for i, n in enumerate(ends)},
        tmp_path / "heads.pth",
    )
    return tmp_path / "vgg.pth", tmp_path / "heads.pth"


@pytest.fixture
def clip(tmp_path) -> Path:
    """A CLIP of two layers under the names of the library transformers."""
    torch.manual_seed(1)
    width, own = 64, {}
    for i in range(2):
        at = f"vision_model.encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            own[f"{at}self_attn.{name}.weight"] = torch.randn(width, width) * 0.1
            own[f"{at}self_attn.{name}.bias"] = torch.zeros(width)
        for name in ("layer_norm1", "layer_norm2"):
            own |= {f"{at}{name}.weight": torch.ones(width), f"{at}{name}.bias": torch.zeros(width)}
        own |= {f"{at}mlp.fc1.weight": torch.randn(256, width) * 0.1, f"{at}mlp.fc1.bias": torch.zeros(256)}
        own |= {f"{at}mlp.fc2.weight": torch.randn(width, 256) * 0.1, f"{at}mlp.fc2.bias": torch.zeros(width)}
    for name in ("pre_layrnorm", "post_layernorm"):
        own |= {
            f"vision_model.{name}.weight": torch.ones(width),
            f"vision_model.{name}.bias": torch.zeros(width),
        }
    own["vision_model.embeddings.class_embedding"] = torch.randn(width)
    own["vision_model.embeddings.patch_embedding.weight"] = torch.randn(width, 3, 8, 8) * 0.1
    own["vision_model.embeddings.position_embedding.weight"] = torch.randn(17, width) * 0.1
    own["visual_projection.weight"] = torch.randn(32, width) * 0.1
    own["text_model.embeddings.token_embedding.weight"] = torch.zeros(4, 4)
    save_file(own, tmp_path / "clip.safetensors")
    return tmp_path / "clip.safetensors"


@pytest.fixture
def i3d(tmp_path) -> Path:
    torch.manual_seed(2)
    network = InceptionI3d((2, 2, 2), [[1] * len(BRANCHES)] * len(MIXED), 6)
    torch.save(network.state_dict(), tmp_path / "i3d.pt")
    return tmp_path / "i3d.pt"


def test_lpips_of_equal_pictures_is_nothing_and_of_others_something(vgg) -> None:
    lpips = load_lpips(*vgg)
    a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert lpips(a, a).tolist() == [0, 0]
    assert (lpips(a, 1 - a) > 0).all()
    torch.testing.assert_close(lpips(a, 1 - a), lpips(1 - a, a))


def test_lpips_by_hand() -> None:
    """A trunk that hands on its input's first channel in two: unit features (1, 0) and (0, 1) are 2 apart."""

    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            first = (x[:, :1] > 0).float()
            return [torch.cat([first, 1 - first], 1)] * 2

    lpips = Lpips(Plain(), [torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5])])
    white, half = torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    half[:, :, :, :2] = 0
    assert lpips(white, half).item() == pytest.approx(0.5 * (1 + 3) + 0.5 * (0.5 + 0.5))


def test_clip_sees_equal_pictures_alike(clip) -> None:
    network = load_clip(clip)
    assert (network.config.image_size, network.config.patch_size, network.config.layers) == (32, 8, 2)
    networks = Networks(clip=network)
    a = noise(3, 40, 40, 3)
    assert networks.picture_measures(a, a)["clip"] == pytest.approx(1, abs=1e-6)
    assert networks.picture_measures(a, 255 - a)["clip"] < 0.9999
    wide = np.concatenate([a, a[:, :, :20]], 2)
    assert clip_input(wide, network).shape == (3, 3, 32, 32)


def test_the_attention_of_clip_has_queries_before_keys_before_values(clip) -> None:
    network = load_clip(clip)
    state = load_file(clip)
    stacked = network.transformer.resblocks[1].attn.in_proj_weight
    for i, name in enumerate("qkv"):
        own = state[f"vision_model.encoder.layers.1.self_attn.{name}_proj.weight"]
        torch.testing.assert_close(stacked[64 * i : 64 * (i + 1)], own)
    torch.testing.assert_close(network.proj, state["visual_projection.weight"].T)


def test_i3d_pads_as_tensorflow_and_says_the_same_of_the_same(i3d) -> None:
    assert same(torch.zeros(1, 1, 5, 8, 8), (7, 3, 3), (2, 2, 1)).shape[2:] == (11, 9, 10)
    networks = Networks(i3d=load_i3d(i3d))
    video = noise(9, 50, 50, 3)
    features = networks.video_features(video)
    assert features.shape == (6,)
    np.testing.assert_array_equal(features, networks.video_features(video))
    assert video_input(video).shape == (1, 3, 9, 224, 224)
    flat = np.full((2, 20, 20, 3), 255, np.uint8)
    torch.testing.assert_close(video_input(flat), torch.ones(1, 3, 2, 224, 224))


def test_results_name_their_weights_and_what_is_missing(
    tmp_path, vgg, clip, i3d, capsys, monkeypatch
) -> None:
    cameras = Cameras.orbit([0.0, 90.0], 10.0, size=SIZE)
    truth = truth_of(tmp_path / "truth", cameras)
    (tmp_path / "ball").mkdir()
    ball_asset(tmp_path / "ball")
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    weights = ("--lpips", "vgg.pth", "heads.pth", "--clip", clip, "--i3d", i3d)
    found = evaluated(capsys, truth, truth, tmp_path / "a.json", *weights)
    assert found["mean"]["lpips"] == found["mean"]["fvd"] == 0
    assert found["mean"]["clip"] == pytest.approx(1, abs=1e-5)
    assert set(found["networks"]) == {"lpips trunk", "lpips heads", "clip", "fvd"}
    assert all(len(v) == 64 for v in found["networks"].values())
    assert "LPIPS" not in found["absent"]
    official = ("--protocol", "consistent4d", "--first", 1, "--i3d", i3d)
    found = evaluated(capsys, tmp_path / "ball", truth, tmp_path / "b.json", *official)
    views = found["objects"]["truth"]["views"]
    assert found["mean"]["fvd"] == pytest.approx(np.mean([v["numbers"]["fvd"] for v in views]), abs=1e-5)
    assert found["absent"]["LPIPS"] == "no weights given (--lpips TRUNK HEADS)"
    other = json.loads((tmp_path / "a.json").read_text())
    other["networks"]["clip"] = "0" * 64
    (tmp_path / "c.json").write_text(json.dumps(other))
    said = refused(capsys, "evaluate", "--compare", tmp_path / "a.json", tmp_path / "c.json")
    assert "clip from different weights" in said


def test_other_networks_are_refused(tmp_path, vgg, clip, i3d) -> None:
    for load, file, said in (
        (load_clip, i3d, "no CLIP"),
        (load_i3d, clip, "no I3D"),
        (lambda f: load_lpips(f, vgg[1]), i3d, "no VGG-16"),
        (lambda f: load_lpips(vgg[0], f), vgg[0], "no heads of LPIPS"),
    ):
        with pytest.raises(InputError, match=said):
            load(file)
    with pytest.raises(InputError, match="there is no file nowhere"):
        load_networks(None, "nowhere.pt", None)
    torch.manual_seed(0)
    other = Vgg16((4,) * 13).state_dict()
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(InputError, match="heads of another network"):
        load_lpips(tmp_path / "other.pth", vgg[1])
