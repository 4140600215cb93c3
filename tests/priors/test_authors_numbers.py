"""Our networks compute what the authors' do, from checkpoints in the authors' formats, through the converter.

The inputs and outputs are those of `tests/data`; its README says how they were made. The networks at full
size take about 10 GB of memory and disk, some minutes, and two files of `../shared`: `pytest -m fullsize`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import conversion_memory, filled, save_as_lightning
from reference import DATA

from vid4d.dynerf.field import PRESETS
from vid4d.methods.consistent4d import convert as kplanes
from vid4d.priors.guidance import PLAIN, ClassifierFree, Decomposed
from vid4d.priors.latent_diffusion import LATENT_SCALE
from vid4d.priors.rife import CONFIGS, IFNet
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.syncdreamer import SyncDreamer, SyncDreamerCondition
from vid4d.priors.weights.convert import convert, load_converted
from vid4d.priors.zero123 import Zero123

STORED_AS_HALF = {"decoded0", "spatial_volume_mean"}


class Comparison:
    """Relative errors against a file of reference values."""

    def __init__(self, path: Path) -> None:
        self.reference = {
            name: torch.from_numpy(value) for name, value in np.load(path).items() if value.dtype.kind != "U"
        }
        self.errors: dict[str, float] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        value = self.reference[name]
        return value.float() if value.dtype == torch.float16 else value

    def check(self, name: str, got: torch.Tensor) -> None:
        expected = self[name]
        error = (got.reshape(expected.shape) - expected).norm() / expected.norm()
        self.errors[name] = error.item()
        print(f"  {name}: relative error {error:.1e}", flush=True)

    def done(self) -> None:
        """Below 1e-3, or 2e-3 where the reference was stored in 16 bits."""
        bound = {name: 2e-3 if name in STORED_AS_HALF else 1e-3 for name in self.errors}
        assert {name: e for name, e in self.errors.items() if not e < bound[name]} == {}


@pytest.mark.parametrize("version", [3, 4])
def test_rife(tmp_path, version):
    state = filled(f"rife_v{version}")
    state = {name: 0.3 * value if value.ndim >= 2 else value for name, value in state.items()}
    torch.save(state, tmp_path / "flownet.pkl")
    model = load_converted(convert(tmp_path / "flownet.pkl", tmp_path / "rife.safetensors"))
    if isinstance(model, IFNet):
        assert model.config == CONFIGS["rife4"]
    comparison = Comparison(DATA / "rife.npz")
    for t in (0.25, 0.5) if version == 4 else (0.5,):
        with torch.no_grad():
            found = model(comparison["img0"], comparison["img1"], t)
        comparison.check(f"v{version}_mid_{t}", found.frame)
        comparison.check(f"v{version}_flow_{t}", found.flow)
    comparison.done()


def test_kplanes(tmp_path):
    comparison = Comparison(DATA / "kplanes.npz")
    small = {k: v for k, v in comparison.reference.items() if k.startswith("geometry.")}
    state = filled("consistent4d_geometry") | small
    save_as_lightning(tmp_path / "last.ckpt", state | {"renderer.estimator.occs": torch.zeros(32**3)})
    networks = (kplanes.NETWORK,)
    converted = convert(tmp_path / "last.ckpt", tmp_path / "field.safetensors", networks=networks)
    field = load_converted(converted, networks=networks)
    assert field.config == PRESETS["standard"]
    with torch.no_grad():
        found = field.sample(comparison["points"], comparison["time"][:, 0], normals=True)
    comparison.check("density", found.density)
    comparison.check("features", found.color)
    comparison.check("density_only", found.density)
    comparison.check("normal", found.normal)
    comparison.done()


def through_the_converter(state: dict[str, torch.Tensor], folder: Path, name: str) -> torch.nn.Module:
    """Writes a checkpoint as its authors do, converts it in a process of its own and loads it.

    Empties the state dict, so that only one copy of the network is in memory.
    """
    started = time.monotonic()
    largest = max(value.nbytes for value in state.values())
    count = sum(value.numel() for value in state.values())
    save_as_lightning(folder / name, state)
    size = (folder / name).stat().st_size
    state.clear()
    out = folder / "converted.safetensors"
    growth = conversion_memory(folder / name, out)
    (folder / name).unlink()
    model = load_converted(out)
    print(
        f"\n{name}: {count / 1e9:.2f} billion numbers, {size / 1e9:.1f} GB, in Lightning's format; "
        f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion parameters\n"
        f"  conversion: memory grew by {growth / 1e6:.0f} MB, largest tensor {largest / 1e6:.0f} MB; "
        f"{time.monotonic() - started:.0f} s with writing and loading"
    )
    assert growth < 1.2 * largest + 2**30
    return model


@pytest.fixture
def big_folder(tmp_path):
    """A folder whose large files vanish also when the test fails."""
    yield tmp_path
    for file in tmp_path.iterdir():
        file.unlink()


@pytest.mark.fullsize
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_zero123(shared_dir, big_folder):
    model = through_the_converter(filled("zero123"), big_folder, "zero123-xl.ckpt")
    assert isinstance(model, Zero123)
    comparison = Comparison(shared_dir / "reference" / "zero123.npz")
    np.testing.assert_allclose(model.schedule.alphas_cumprod, comparison["alphas_cumprod"], atol=1e-6)
    with torch.no_grad():
        images = (comparison["image"] + 1) / 2
        comparison.check("clip_embed", model.embedding(images))
        comparison.check("latent_mode", model.latent(images))
        pose = comparison["pose_T"][:, 0]
        comparison.check("cross", model.context(comparison["clip_embed"][:, 0], pose))
        noisy, t, latent = (comparison[name] for name in ("noisy", "t", "latent_mode"))
        comparison.check("eps", model.noise(noisy, t, comparison["cross"], latent))
        comparison.check("decoded0", model.autoencoder.decode(latent[:1] / LATENT_SCALE))
    comparison.done()


@pytest.mark.fullsize
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_syncdreamer(shared_dir, big_folder):
    model = through_the_converter(filled("syncdreamer"), big_folder, "syncdreamer-pretrain.ckpt")
    assert isinstance(model, SyncDreamer)
    comparison = Comparison(shared_dir / "reference" / "syncdreamer.npz")
    check = comparison.check
    with torch.no_grad():
        images = (comparison["image"] + 1) / 2
        found = model.condition(images, torch.rad2deg(comparison["elevation_rad"]))
        check("input_latent_mode", found.latent * LATENT_SCALE)
        check("clip_embed", found.clip)
        check("view_embed", found.view)
        check("decoded0", model.autoencoder.decode(comparison["input_latent_mode"][:1] / LATENT_SCALE))

        t = comparison["timestep"]
        time_embed = model.time_embedding(t)
        check("time_embed", time_embed)
        x = comparison["noisy_latents"]
        plain = model.volumes(x, time_embed, found.view)
        check("spatial_volume_slice", plain[:, :8, ::4, ::4, ::4])
        check("spatial_volume_mean", plain.mean(1))
        volume = torch.einsum("ij,jkxyz->ikxyz", smoothing_matrix(3).float(), plain)
        check("smoothed_volume_slice", volume[:, :8, ::4, ::4, ::4])

        frame = torch.arange(3).repeat_interleave(2)
        view = comparison["target_index"].flatten()
        latent = comparison["input_latent_mode"] / LATENT_SCALE
        condition = SyncDreamerCondition(comparison["clip_embed"][:, 0], latent, found.view)
        context = model.context(condition.clip[frame], condition.view[frame, view])
        check("clip_cross", context)
        pyramid = model.spatial_volume.frustum(
            volume, frame, time_embed[frame], condition.view[frame, view], view
        )
        check("frustum32_slice", pyramid[32][:, :4, ::6, ::8, ::8])
        check("frustum4", pyramid[4][:, ::32])
        for name, guidance in (
            ("eps_plain", PLAIN),
            ("eps_cfg2", ClassifierFree(2.0)),
            ("eps_dg_2_1", Decomposed(2.0, 1.0)),
        ):
            got = model.predict(x[frame, view], t[frame], context, condition.latent[frame], pyramid, guidance)
            check(name, got)
    comparison.done()
