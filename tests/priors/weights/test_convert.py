"""Published checkpoints become our networks: every layout, nothing left out in silence."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import before, in_their_names, randomised, save_as_lightning
from reference import keys
from safetensors.torch import load_file, save_file

from vid4d.dynerf.field import CascadeField, FieldConfig, LevelConfig
from vid4d.errors import InputError
from vid4d.methods.consistent4d import convert as kplanes
from vid4d.priors import rife_versions, syncdreamer, zero123
from vid4d.priors.rife import IFNet, IFNetConfig
from vid4d.priors.rife3 import IFNet3
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.weights import convert as converter
from vid4d.priors.weights import registry
from vid4d.priors.weights.checkpoint_reader import StoredTensor
from vid4d.priors.weights.convert import expected_shapes, network_in, source_sha256
from vid4d.priors.weights.convert_layouts import in_our_names
from vid4d.priors.weights.files import read_metadata

NETWORKS = (*registry.networks(), kplanes.NETWORK)
convert = partial(converter.convert, networks=NETWORKS)
load_converted = partial(converter.load_converted, networks=NETWORKS)
ALPHAS = NoiseSchedule.scaled_linear().alphas_cumprod
RIFE = IFNetConfig(widths=(16, 16, 8, 8), depth=2)


@pytest.fixture(autouse=True)
def tiny_rife_is_a_known_version(monkeypatch):
    monkeypatch.setitem(rife_versions.VERSIONS, "tiny", RIFE)


def theirs(kind: str, seed: int = 0) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A tiny network, and its published state dict with all that is not part of the network."""
    if kind == "zero123":
        model = randomised(zero123.Zero123(zero123.CONFIGS["tiny"]), seed)
        state = in_their_names(model, zero123.NETWORK.prefixes)
        for name, value in list(state.items()):
            if name.startswith("model."):
                state["model_ema." + name.removeprefix("model.").replace(".", "")] = value + 1
        tower = "cond_stage_model.model."
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(5)}
        state |= {
            "sqrt_recip_alphas_cumprod": torch.ones(1000),
            "first_stage_model.loss.logvar": torch.ones(1),
        }
    elif kind == "syncdreamer":
        model = randomised(syncdreamer.SyncDreamer(syncdreamer.CONFIGS["tiny"]), seed)
        state = in_their_names(model, syncdreamer.NETWORK.prefixes)
        tower = "clip_image_encoder.model."
        state |= {"azimuth": torch.zeros(16), "posterior_variance": torch.ones(1000)}
    elif kind == "kplanes":
        torch.manual_seed(seed)
        model = CascadeField(FieldConfig((LevelConfig(6, 3, 4, 5), LevelConfig(9, 4, 2, 5))))
        state = {}
        for k, level in enumerate(model.cascade):
            for i, plane in zip((0, 1, 3), level.space, strict=True):
                state[f"geometry.grids.{k}.{i}"] = plane.detach()[None]
            for i, plane in zip((2, 4, 5), level.time, strict=True):
                state[f"geometry.grids.{k}.{i}"] = plane.detach()[None]
            for network, ours in (("density", "density"), ("feature", "colour")):
                for layer, end in ((0, "in"), (2, "out")):
                    name = f"geometry.{network}_network.{k}.layers.{layer}.weight"
                    state[name] = getattr(level, f"{ours}_{end}").detach()
        state |= {"geometry.bbox": torch.tensor([[-1.0] * 3, [1.0] * 3])}
        return model, state | {"renderer.estimator.occs": torch.zeros(8)}
    else:
        model = randomised(IFNet3() if kind == "rife3" else IFNet(RIFE), seed)
        state = {f"module.{name}": value.clone() for name, value in model.state_dict().items()}
        return model, state | ({"module.block_tea.conv0.bias": torch.zeros(3)} if kind == "rife3" else {})
    text = {"positional_embedding": (77, 12), "ln_final.weight": (12,), "token_embedding.weight": (5, 12)}
    state |= {tower + name: torch.zeros(shape) for name, shape in text.items()}
    return model, state | {"alphas_cumprod": ALPHAS, "betas": 1 - ALPHAS / before()}


KINDS = ("zero123", "syncdreamer", "rife3", "rife4", "kplanes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["zip", "older", "lightning", "safetensors"])
def test_every_layout_becomes_the_same_network(tmp_path, kind, form):
    model, state = theirs(kind)
    source = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.ckpt")
    if form == "lightning":
        save_as_lightning(source, state)
    elif form == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, source)
    else:
        torch.save(state, source, _use_new_zipfile_serialization=form == "zip")
    assert network_in(source, NETWORKS).kind == kind
    out = convert(source, tmp_path / "ours.safetensors", licence="MIT")
    assert out == tmp_path / "ours.safetensors"
    loaded = load_converted(out)
    assert type(loaded) is type(model)
    assert not loaded.training
    expected, got = model.state_dict(), loaded.state_dict()
    assert expected.keys() == got.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert dict(loaded.named_buffers()).keys() == dict(model.named_buffers()).keys()
    assert all(torch.equal(b, dict(model.named_buffers())[n]) for n, b in loaded.named_buffers())
    if kind != "rife3":
        assert loaded.config == model.config


@pytest.mark.parametrize("kind", ["rife3", "rife4"])
def test_rife_needs_no_prefix(tmp_path, kind):
    model, state = theirs(kind)
    torch.save({k.removeprefix("module."): v for k, v in state.items()}, tmp_path / "flownet.pkl")
    loaded = load_converted(convert(tmp_path / "flownet.pkl", tmp_path / "a.safetensors"))
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in model.state_dict().items())


def test_the_averaged_copy_is_taken_on_demand(tmp_path):
    model, state = theirs("zero123")
    torch.save(state, tmp_path / "a.ckpt")
    out = convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors", ema=True)
    got = load_converted(out).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(got[name], value + 1 if name.startswith("unet.") else value)
    assert read_metadata(out)["averaged"] == "true"
    plain = {k: v for k, v in state.items() if not k.startswith("model_ema.")}
    torch.save(plain, tmp_path / "b.ckpt")
    load_converted(convert(tmp_path / "b.ckpt", tmp_path / "b.safetensors"))
    with pytest.raises(InputError, match="no averaged copy"):
        convert(tmp_path / "b.ckpt", tmp_path / "c.safetensors", ema=True)


def test_the_file_tells_where_it_comes_from(tmp_path):
    _, state = theirs("zero123")
    source = tmp_path / "105000.ckpt"
    torch.save(state, source)
    metadata = read_metadata(convert(source, tmp_path / "a.safetensors", licence="MIT"))
    assert metadata["kind"] == "zero123"
    assert metadata["source"] == "105000.ckpt"
    assert metadata["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata["licence"] == "MIT"
    left_out = json.loads(metadata["left_out"])
    copies = sum(name.startswith("model_ema.") for name in state)
    assert left_out["the averaged copy of the UNet"] == copies
    assert left_out["CLIP's text tower"] == 3
    assert sum(left_out.values()) == len(state) - len(load_file(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("network", [zero123.NETWORK, syncdreamer.NETWORK], ids=lambda n: n.kind)
def test_parameters_are_those_of_the_real_checkpoint(tmp_path, network):
    published = keys(network.kind)
    state = {k: StoredTensor(tmp_path, 0, torch.float32, tuple(s), tuple(s)) for k, s in published.items()}
    named = in_our_names(state, network.prefixes, network.left_out, tmp_path)
    expected = expected_shapes(network, network.configs[0])
    assert {k: part.shape for k, (part,) in named.parts.items()} == expected
    assert sum(named.left_out.values()) + len(expected) == len(published)


# What does not fit


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_missing_and_nothing_is_ignored(tmp_path, kind):
    _, state = theirs(kind)
    source, out = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    part = {
        "zero123": "cond_stage_model.model.visual.ln_post.bias",
        "syncdreamer": "spatial_volume.target_encoder.init_conv.weight",
        "rife3": "module.block1.conv1.0.bias",
        "rife4": "module.block1.lastconv.0.bias",
        "kplanes": "geometry.density_network.1.layers.2.weight",
    }[kind]
    assert part in state
    torch.save({k: v for k, v in state.items() if k != part}, source)
    with pytest.raises(InputError, match=r"missing|lacks"):
        convert(source, out)
    for extra in (
        "model.new_branch.weight",
        part.replace(".weight", ".weight_g").replace(".bias", ".bias_g"),
    ):
        torch.save(state | {extra: torch.zeros(3)}, source)
        with pytest.raises(InputError, match=r"no place|unknown|more of a field") as error:
            convert(source, out)
        assert extra.removeprefix("module.").rpartition(".")[2] in str(error.value)
    torch.save(state | {part: torch.zeros(7, 7)}, source)
    with pytest.raises(InputError, match="shape"):
        convert(source, out)
    torch.save(state | {part: "text"}, source)
    with pytest.raises(InputError):
        convert(source, out)
    assert not out.exists()


def test_constants_are_compared(tmp_path):
    source = tmp_path / "a.ckpt"
    _, state = theirs("zero123")
    torch.save(state | {"betas": torch.linspace(1e-4, 0.02, 1000)}, source)
    with pytest.raises(InputError, match="other betas"):
        convert(source, tmp_path / "a.safetensors")
    _, state = theirs("syncdreamer")
    torch.save(state | {"poses": torch.zeros(16, 3, 4)}, source)
    with pytest.raises(InputError, match="other poses"):
        convert(source, tmp_path / "a.safetensors")
    _, state = theirs("kplanes")
    torch.save(state | {"geometry.bbox": torch.tensor([[-2.0] * 3, [2.0] * 3])}, source)
    with pytest.raises(InputError, match=r"other geometry\.bbox"):
        convert(source, tmp_path / "a.safetensors")


def test_other_networks_are_told(tmp_path):
    source = tmp_path / "a.ckpt"
    torch.save({"fc.weight": torch.zeros(2)}, source)
    with pytest.raises(InputError, match=r"fc\.weight"):
        network_in(source)
    torch.save({"module.block0.convblock.0.0.weight": torch.zeros(2)}, source)
    with pytest.raises(InputError, match="version that is not known here"):
        network_in(source)
    with pytest.raises(InputError, match="no unet"):
        network_in(tmp_path)
    _, state = theirs("rife4")
    torch.save(state, source)
    with pytest.raises(InputError, match="ends with"):
        convert(source, tmp_path / "out.ckpt")
    save_file(state, tmp_path / "theirs.safetensors")
    with pytest.raises(InputError, match="overwritten"):
        convert(tmp_path / "theirs.safetensors", tmp_path / "theirs.safetensors")
    out = convert(source, tmp_path / "out.safetensors")
    save_file(load_file(out), tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="converter"):
        load_converted(tmp_path / "bare.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "wrong.safetensors", read_metadata(out))
    with pytest.raises(InputError, match="does not fit"):
        load_converted(tmp_path / "wrong.safetensors")


# Interruption, precision


def test_an_interrupted_conversion_is_run_again(tmp_path):
    model, state = theirs("rife4")
    torch.save(state, tmp_path / "flownet.pkl")
    out = tmp_path / "out" / "rife.safetensors"

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "flownet.pkl", out, report=interrupt)
    assert list(out.parent.iterdir()) == []
    first = convert(tmp_path / "flownet.pkl", out).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "flownet.pkl", out, report=interrupt)
    assert out.read_bytes() == first
    assert convert(tmp_path / "flownet.pkl", out).read_bytes() == first
    assert all(torch.equal(load_converted(out).state_dict()[k], v) for k, v in model.state_dict().items())


def test_types_are_kept_in_the_file_and_chosen_at_loading(tmp_path):
    model, state = theirs("zero123")
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "a.ckpt")
    out = convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert {v.dtype for v in load_file(out).values()} == {torch.float16}
    for dtype in (torch.float32, torch.bfloat16):
        loaded = load_converted(out, "cpu", dtype)
        assert {p.dtype for p in loaded.parameters()} == {dtype}
        assert not any(p.requires_grad for p in loaded.parameters())
        name = "unet.middle_block.0.in_layers.2.weight"
        assert torch.equal(loaded.state_dict()[name], model.state_dict()[name].half().to(dtype))


# The layout of diffusers

REFERENCE = Path(__file__).parent / "data" / "zero123_diffusers.npz"
"""Names and outputs of diffusers 0.42 and transformers 5.23 at the sizes of our tiny Zero123.

Weights are filled by name (`by_name`); the input of the decoder is `noisy`, of which `decoded` is the first
picture, every fourth pixel.
"""


def by_name(name: str, shape: list[int]) -> torch.Tensor:
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) >= 2:
        values = values / np.prod(shape[1:]) ** 0.5
    elif name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.05 * values
    return torch.from_numpy(values.astype(np.float32))


def diffusers_folder(folder: Path, suffix: str = ".safetensors") -> dict[str, np.ndarray]:
    """Writes the pipeline of the reference; returns the reference."""
    reference = dict(np.load(REFERENCE))
    for part, names in json.loads(str(reference.pop("keys"))).items():
        state = {name: by_name(f"{part}.{name}", shape) for name, shape in names.items()}
        (folder / part).mkdir(parents=True)
        file = folder / part / ("model" if part == "image_encoder" else "diffusion_pytorch_model")
        if suffix == ".bin":
            torch.save(state, file.with_suffix(suffix))
        else:
            save_file(state, file.with_suffix(suffix))
    (folder / "model_index.json").write_text("{}")
    return reference


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_the_layout_of_diffusers_is_the_same_network(tmp_path, suffix):
    folder = tmp_path / "zero123-xl-diffusers"
    reference = {k: torch.from_numpy(v) for k, v in diffusers_folder(folder, suffix).items()}
    assert network_in(folder).kind == "zero123"
    out = convert(folder, tmp_path / "a.safetensors")
    model = load_converted(out)
    assert read_metadata(out)["source_sha256"] == source_sha256(folder)
    with torch.no_grad():
        known = model.condition(reference["image"].float())
        context = model.context(reference["embedding"], reference["view"])
        found = {
            "embedding": known.embedding,
            "latent": known.latent,
            "context": context,
            "noise": model.noise(
                reference["noisy"], reference["t"], reference["context"], reference["latent"]
            ),
            "decoded": model.autoencoder.decode(reference["noisy"])[:1, :, ::4, ::4],
        }
    for name, got in found.items():
        error = (got - reference[name]).norm() / reference[name].norm()
        assert error < 1e-4, (name, error)


def test_folders_that_do_not_fit_are_told(tmp_path):
    folder = tmp_path / "pipeline"
    diffusers_folder(folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    save_file(state | {"down_blocks.0.motion_modules.0.weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="motion_modules"):
        convert(folder, tmp_path / "a.safetensors")
    first = state.pop("conv_in.bias")
    save_file(state, file)
    with pytest.raises(InputError, match="missing"):
        convert(folder, tmp_path / "a.safetensors")
    save_file(state | {"conv_in.bias": first}, file)
    (folder / "scheduler").mkdir()
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text(json.dumps({"prediction_type": "v_prediction"}))
    with pytest.raises(InputError, match="v_prediction"):
        convert(folder, tmp_path / "a.safetensors")
    settings.write_text(json.dumps({"prediction_type": "epsilon", "beta_schedule": "scaled_linear"}))
    convert(folder, tmp_path / "a.safetensors")
    shutil.rmtree(folder / "vae")
    with pytest.raises(InputError, match="vae"):
        convert(folder, tmp_path / "a.safetensors")
