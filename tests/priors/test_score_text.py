"""Stable Diffusion as score prior: prompts by view, guidance, and a whole run with a tiny random pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.errors import InputError
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.methods.consistent4d import method
from vid4d.methods.consistent4d.batches import BatchConfig, Milestone
from vid4d.methods.consistent4d.config import Consistent4DConfig
from vid4d.methods.consistent4d.views import DistillConfig
from vid4d.priors.score_text import VIEWS, load_text_prior, prompts, view_of


def test_prompts_depend_on_the_view():
    assert prompts("a red cat. ")[0] == "a red cat, front view"
    azimuth = torch.tensor([0.0, 44, 316, 46, 134, 90, 136, 180, 224, 226, 314, 10])
    elevation = torch.tensor([0.0] * 11 + [61.0])
    named = [VIEWS[i].split()[0] for i in view_of(azimuth, elevation)]
    assert named == [*["front"] * 3, *["side"] * 3, *["back"] * 3, *["side"] * 2, "overhead"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A Stable Diffusion of random weights with latents of 8 x 8, in the layout of diffusers."""
    diffusers = pytest.importorskip("diffusers", reason="the extra 'text' is not installed")
    transformers = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    folder = tmp_path_factory.mktemp("pipeline")
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    ).save_pretrained(folder / "scheduler")
    config = transformers.CLIPTextConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=0,
        eos_token_id=1,
    )
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    letters = [c + end for c in "abcdefghijklmnopqrstuvwxyz," for end in ("", "</w>")]
    vocabulary = {w: i for i, w in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (folder / "words").mkdir()
    (folder / "words" / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(
        str(folder / "words" / "vocab.json"), str(folder / "words" / "merges.txt"), model_max_length=24
    ).save_pretrained(folder / "tokenizer")
    return folder


CAMERAS = Cameras.orbit([0.0, 180.0], 10.0, size=16)


def test_the_score_depends_on_the_prompts(pipeline):
    """Other words and views give other answers; guidance is linear in its scale; latents have a gradient."""
    answers = {}
    for text, scale in (("a cat", 1.0), ("a cat", 3.0), ("a cat", 5.0), ("a dog", 1.0)):
        prior = load_text_prior(pipeline, text, guidance=scale)
        color = torch.full((2, 16, 16, 3), 0.5, requires_grad=True)
        latents = prior.encode(color, torch.ones(2, 16, 16))
        assert latents.shape == (2, 4, 8, 8)
        (gradient,) = torch.autograd.grad(latents.square().sum(), color)
        assert gradient.abs().max() > 0
        x = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        view = prior.view(CAMERAS, torch.tensor([0, 0]))
        assert not torch.equal(view[0], view[1])
        answers[text, scale] = prior.predict(x, torch.tensor([500, 900]), view)
        assert answers[text, scale].shape == x.shape
    assert (answers["a cat", 1.0] - answers["a dog", 1.0]).abs().max() > 1e-5
    further = 2 * answers["a cat", 3.0] - answers["a cat", 1.0]
    torch.testing.assert_close(answers["a cat", 5.0], further, atol=1e-4, rtol=1e-3)
    levels = [prior.predict(x[i : i + 1], torch.tensor([500, 900]), view)[0] for i in range(2)]
    torch.testing.assert_close(answers["a dog", 1.0], torch.stack(levels), atol=1e-4, rtol=1e-3)


def test_a_text_becomes_an_asset(pipeline, tmp_path, monkeypatch):
    """`vid4d generate --text`: no clip, no reference steps, but all outputs."""
    config = Consistent4DConfig(
        levels=FieldConfig((LevelConfig(12, 1, 4, 8),)),
        steps=4,
        milestones=(Milestone(0, 16, 3),),
        batch=BatchConfig(0.25, 0.5, 0.0, 0.25),
        n_reg_samples=64,
        samples_per_ray=32,
        grid_resolution=8,
        distill=DistillConfig(views=4, elevations=(10.0,), size=24),
        fit=FitConfig(iterations=4, size=24, hull=HullConfig(resolution=32, splats=40, min_splats=80)),
        validate_every=4,
        validate_size=16,
    )
    monkeypatch.setitem(method.PRESETS, "draft", config)
    asset = api.generate(
        "", text="a cat", text_model=str(pipeline), preset="draft", device="cpu", out=tmp_path / "cat"
    )
    assert len(asset.gaussians) > 20
    for name in ("dynerf.safetensors", "player.html", "contact.png", "turntable.mp4"):
        assert (tmp_path / "cat" / name).stat().st_size > 0
    log = (tmp_path / "cat" / "log.txt").read_text().splitlines()
    (line,) = [line for line in log if "dynerf: step" in line]
    assert "sds" in line
    assert "color" not in line
    assert not (tmp_path / "cat" / "frames").exists()


def test_models_that_cannot_be_had(pipeline, tmp_path):
    with pytest.raises(InputError, match=r"cannot be had .* give a Stable Diffusion"):
        load_text_prior(tmp_path / "nothing", "a cat")


def test_without_diffusers_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(InputError, match=r"pip install .*\[text\]"):
        load_text_prior("any", "a cat")
