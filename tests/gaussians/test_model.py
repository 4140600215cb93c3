"""4D Gaussians: rotation, slices against the authors' numbers, harmonics, asset files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import arrays
from safetensors.torch import save_file

from vid4d.errors import InputError
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D, Gaussians4D, load_asset, rotation4d, save_asset

IDENTITY = torch.tensor([[1.0, 0, 0, 0]])


def cloud(n: int, degree: int = 3, fourier: int = 1, seed: int = 0) -> Gaussians4D:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    sh = normal(n, harmonics.terms(degree), fourier, 3)
    return Gaussians4D(normal(n, 4), normal(n, 4) - 2, normal(n, 4), normal(n, 4), normal(n), sh)


@pytest.fixture(scope="module")
def authors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays("gaussians4d").items()}


def from_authors(data: dict[str, torch.Tensor], fourier: int) -> Gaussians4D:
    """Their 48 coefficients: 16 harmonics for each of 3 Fourier terms, the constant first."""
    sh = data["sh_coefficients"].reshape(64, 3, 16, 3).transpose(1, 2)[:, :, :fourier]
    names = ("mean_xyzt", "log_scale_xyzt", "rotation_left", "rotation_right")
    return Gaussians4D(*[data[name] for name in names], torch.zeros(64), sh)


def test_covariance_equals_the_authors(authors: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(
        from_authors(authors, 1).covariance4d(), authors["covariance4d"], atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("time", ["-0.4", "0.0", "0.25"])
def test_slices_equal_the_authors(authors: dict[str, torch.Tensor], time: str) -> None:
    constant, series = from_authors(authors, 1), from_authors(authors, 3)
    now = constant.at(float(time))
    torch.testing.assert_close(now.means, authors[f"mean3d_t{time}"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(now.covariances, authors[f"cov3d_t{time}"], atol=1e-6, rtol=1e-4)
    marginal = authors[f"marginal_t{time}"][:, 0]
    torch.testing.assert_close(constant.marginal(float(time)), marginal, atol=1e-5, rtol=1e-4)
    kept = torch.where(marginal >= 0.05, 0.5 * marginal, 0)  # a logit of 0 is an opacity of 0.5
    torch.testing.assert_close(now.opacities, kept, atol=1e-5, rtol=1e-4)
    assert 0 < (now.opacities == 0).sum() < 64
    for splats, name in ((constant, "rgb_sh3"), (series, "rgb_4dsh")):
        s = splats.at(float(time))
        rgb = harmonics.evaluate(s.sh, s.means, authors["camera_position"])
        torch.testing.assert_close(rgb, authors[f"{name}_t{time}"], atol=1e-5, rtol=1e-4)


def test_rotation_is_orthogonal_and_takes_any_length() -> None:
    left, right = torch.randn(20, 4, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    r = rotation4d(left, right)
    torch.testing.assert_close(r @ r.transpose(1, 2), torch.eye(4, dtype=r.dtype).expand(20, 4, 4))
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(20, dtype=r.dtype))
    torch.testing.assert_close(rotation4d(3 * left, -0.1 * right), -r)


def test_equal_quaternions_leave_time_alone() -> None:
    q = torch.randn(5, 4)
    r = rotation4d(q, q)
    torch.testing.assert_close(r[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(5, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation4d(IDENTITY, IDENTITY)[0], torch.eye(4))


def test_slice_of_a_tilted_splat_by_hand() -> None:
    """S_xx = 4, S_tt = 1 and S_xt = 1 or -1: it moves with speed 1, and exp(-1/8) of it is there at 0.5."""
    angle = 0.5 * math.atan2(2 * 1, 4 - 1)  # of the main axis in the (x, t) plane
    eigen = [2.5 + math.sqrt(13) / 2, 2.5 - math.sqrt(13) / 2]
    half = angle / 2
    # x is the component k, t the real one: opposite quaternions around k turn x towards t, or away from it.
    left = torch.tensor([[math.cos(half), 0, 0, math.sin(half)]], dtype=torch.float64)
    right = torch.tensor([[math.cos(half), 0, 0, -math.sin(half)]], dtype=torch.float64)
    logs = torch.tensor([[eigen[0], 9.0, 9.0, eigen[1]]], dtype=torch.float64).log() / 2
    found = []
    for a, b in ((left, right), (right, left)):
        splat = Gaussians4D(
            torch.zeros(1, 4, dtype=torch.float64), logs, a, b, torch.zeros(1), torch.zeros(1, 1, 1, 3)
        )
        c = splat.covariance4d()[0]
        torch.testing.assert_close(c[0, 0].item(), 4.0)
        torch.testing.assert_close(c[3, 3].item(), 1.0)
        found.append(c[0, 3].item())
        now = splat.at(0.5)
        torch.testing.assert_close(now.means[0, 0].item(), 0.5 * found[-1])
        torch.testing.assert_close(now.covariances[0, 0, 0].item(), 3.0)
        torch.testing.assert_close(now.opacities.item(), 0.5 * math.exp(-1 / 8))
    assert sorted(found) == pytest.approx([-1, 1])


def test_fourier_terms_are_cosines_around_the_splats_own_time() -> None:
    sh = torch.zeros(1, 1, 3, 3)
    sh[0, 0, 1, 0], sh[0, 0, 2, 1] = 1, 1
    means = torch.tensor([[0.0, 0, 0, 0.25]])
    splat = Gaussians4D(means, torch.zeros(1, 4), IDENTITY, IDENTITY, torch.zeros(1), sh, period=2.0)
    value = splat.at(0.75).sh[0, 0]  # a quarter of the period later: cos 90 deg, cos 180 deg
    torch.testing.assert_close(value, torch.tensor([0.0, -1, 0]), atol=1e-6, rtol=0)


def loop(n: int) -> Gaussians4D:
    """Splats of a loop that last for some tenths of it; some of them lie outside of [0, 1]."""
    return replace(cloud(n, 1, 2).to(dtype=torch.float64), cyclic=True)


def same_moment(a: Gaussians3D, b: Gaussians3D) -> None:
    for name, value in vars(a).items():
        torch.testing.assert_close(getattr(b, name), value, atol=1e-9, rtol=1e-9)


def test_a_loop_ends_where_it_begins() -> None:
    splats = loop(200)
    same_moment(splats.at(0.0), splats.at(1.0))
    torch.testing.assert_close(splats.marginal(0.0), splats.marginal(1.0))
    on_a_line = replace(splats, cyclic=False)
    assert (on_a_line.at(0.0).opacities - on_a_line.at(1.0).opacities).abs().max() > 0.1


def test_a_loop_does_not_care_where_it_is_cut() -> None:
    splats = loop(200)
    for shift in (1.0, -2.0, 0.3):
        means = splats.means + torch.tensor([0.0, 0, 0, shift], dtype=torch.float64)
        same_moment(splats.at(0.9), replace(splats, means=means).at((0.9 + shift) % 1))


def test_around_the_end_of_a_loop_by_hand() -> None:
    """Time 0.95 is 0.1 before the splat at 0.05: one standard deviation, and a tenth of its way back."""
    angle = torch.tensor([0.1])
    half = torch.stack([torch.cos(angle / 2), *[torch.sin(angle / 2) * x for x in (0, 0, 1)]], -1)
    means, scales = torch.tensor([[0.2, 0, 0, 0.05]]), torch.tensor([[0.1, 0.1, 0.1, 0.1]]).log()
    still = Gaussians4D(means, scales, IDENTITY, IDENTITY, torch.zeros(1), torch.zeros(1, 1, 1, 3))
    moving = replace(still, quats_left=half, log_scales=torch.tensor([[0.01, 0.01, 0.01, 0.1]]).log())
    for splats in (still.to(dtype=torch.float64), moving.to(dtype=torch.float64)):
        round_the_end, before = replace(splats, cyclic=True).at(0.95), splats.at(-0.05)
        same_moment(round_the_end, before)
    assert round_the_end.opacities.item() == pytest.approx(0.5 * math.exp(-0.5), rel=0.02)
    assert (round_the_end.means - means[:, :3]).norm() > 0.001


def test_harmonics_are_orthonormal() -> None:
    """Integrals over the sphere of all products, by quadrature that is exact for polynomials of degree 6."""
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    height = torch.from_numpy(z)[:, None].expand(8, 16)
    side = (1 - height**2).sqrt()
    points = torch.stack([side * angle.cos(), side * angle.sin(), height], -1)
    values = harmonics.basis(points, 3)
    weights = torch.from_numpy(weight)[:, None].expand(8, 16) * (2 * math.pi / 16)
    products = torch.einsum("ab,abi,abj->ij", weights, values, values)
    torch.testing.assert_close(products, torch.eye(16, dtype=torch.float64), atol=1e-9, rtol=0)


def test_known_harmonics() -> None:
    x, y, z = harmonics.basis(torch.eye(3), 2)
    assert x[:4].tolist() == pytest.approx([0.2820948, 0, 0, -0.4886025])
    assert y[:4].tolist() == pytest.approx([0.2820948, -0.4886025, 0, 0])
    assert z[:4].tolist() == pytest.approx([0.2820948, 0, 0.4886025, 0])
    assert z[4:].tolist() == pytest.approx([0, 0, 2 * 0.3153916, 0, 0])


def test_color_survives_the_harmonics() -> None:
    rgb = torch.tensor([[0.0, 0.25, 1.0]])
    dc = harmonics.from_rgb(rgb)
    torch.testing.assert_close(harmonics.to_rgb(dc), rgb)
    color = harmonics.evaluate(dc[:, None], torch.zeros(1, 3), torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close(color, rgb)


def test_select_and_cat_undo_each_other() -> None:
    splats = cloud(10, 1, 2)
    mask = torch.arange(10) < 4
    joined = Gaussians4D.cat([splats.select(mask), splats.select(~mask)])
    for name, value in splats.tensors().items():
        assert torch.equal(joined.tensors()[name], value)
    with pytest.raises(ValueError, match="joined"):
        Gaussians4D.cat([splats, cloud(3, 0, 2)])
    with pytest.raises(ValueError, match="joined"):
        Gaussians4D.cat([splats, replace(splats, cyclic=True)])
    assert Gaussians4D.cat([replace(splats, cyclic=True)] * 2).select(mask.repeat(2)).trainable().cyclic


@pytest.mark.parametrize(("count", "cyclic"), [(0, False), (7, False), (7, True)])
def test_asset_round_trip(tmp_path: Path, count: int, cyclic: bool) -> None:
    splats = cloud(count, 2, 2)
    splats = Gaussians4D(**splats.tensors(), period=0.5, cyclic=cyclic)
    path = tmp_path / "asset.safetensors"
    save_asset(path, splats.trainable(), {"seconds": "2.5", "fps": "24", "name": "rose"})
    loaded, metadata = load_asset(path)
    assert (loaded.period, loaded.cyclic) == (0.5, cyclic)
    for name, value in splats.tensors().items():
        assert torch.equal(loaded.tensors()[name], value)
    for key in ("format_version", "units", "up_axis", "color_space", "seconds", "fps", "name"):
        assert metadata[key]
    assert (metadata["sh_degree"], metadata["fourier_terms"], metadata["count"]) == ("2", "2", str(count))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_asset_that_does_not_say_whether_it_is_a_loop_is_none(tmp_path: Path) -> None:
    path, splats = tmp_path / "asset.safetensors", replace(cloud(5), cyclic=True)
    save_asset(path, splats)
    _, metadata = load_asset(path)
    del metadata["cyclic"]
    save_file(splats.tensors(), path, metadata)
    assert not load_asset(path)[0].cyclic


def test_bad_assets_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "asset.safetensors"
    with pytest.raises(InputError, match="no asset at"):
        load_asset(path)
    save_asset(path, cloud(5))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a readable"):
        load_asset(path)
    path.write_bytes(data.replace(b'"format_version":"1"', b'"format_version":"9"'))
    with pytest.raises(InputError, match="version"):
        load_asset(path)
    path.write_bytes(data.replace(b'"vid4d-gaussians"', b'"other-gaussians"'))
    with pytest.raises(InputError, match="no 4D Gaussians"):
        load_asset(path)
    for wrong in ("long", "nan", "1e6", "1e-9", "-1"):
        with pytest.raises(InputError, match="seconds"):
            save_asset(path, cloud(5), {"seconds": wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", "1e6"),
        ("seconds", "x"),
        ("seconds", "nan"),
        ("period", "0"),
        ("period", "inf"),
        ("fps", "-3"),
        ("cyclic", "yes"),
        ("count", "-1"),
        ("count", "6"),
    ],
)
def test_metadata_that_cannot_be_true_are_refused(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "asset.safetensors"
    save_asset(path, cloud(5), {"seconds": "2"})
    save_file(cloud(5).tensors(), path, load_asset(path)[1] | {name: value})
    with pytest.raises(InputError, match="says 6" if value == "6" else f"'{name}' (must|cannot) be"):
        load_asset(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("name", ["means", "log_scales", "quats_left", "opacity_logits", "sh"])
def test_splats_that_cannot_be_are_refused(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "asset.safetensors"
    save_asset(path, cloud(5))
    tensors, metadata = cloud(5).tensors(), load_asset(path)[1]
    tensors[name].view(-1)[0] = value
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=f"in {name}"):
        load_asset(path)
    save_file(cloud(5).tensors() | {name: cloud(5).tensors()[name].to(torch.int64)}, path, metadata)
    with pytest.raises(InputError, match=f"{name} as torch.int64"):
        load_asset(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "asset.safetensors"
    save_asset(path, cloud(5))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        save_asset(path, cloud(6))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InputError, match="cannot write"):
        save_asset(tmp_path / "missing" / "asset.safetensors", cloud(5))


def test_wrong_shapes_are_named(unchecked: None) -> None:
    good = cloud(4).tensors()
    with pytest.raises(ValueError, match="log_scales"):
        Gaussians4D(**{**good, "log_scales": torch.zeros(4, 3)})
    with pytest.raises(InputError, match="harmonics"):
        Gaussians4D(**{**good, "sh": torch.zeros(4, 5, 1, 3)})
