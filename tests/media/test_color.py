"""Colors: numbers of the standards, and that sRGB comes back from every coding."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.media import color
from vid4d.media.color import Coding

LEVELS = np.linspace(0, 1, 256)


def test_curves_go_through_the_points_of_the_standards() -> None:
    # ST 2084: 10000, 100 and 203 cd/m2 lie at 1, 0.5081 and 0.5807; BT.2408: white of HLG lies at 75 %
    assert color.pq_to_linear(np.array([1.0, 0.5081, 0.5807])) * 203 == pytest.approx(
        [10000, 100, 203], rel=1e-3
    )
    assert color.hlg_to_linear(np.array([0.0, 0.75])) == pytest.approx([0, 1])
    # BT.2100: half of the signal is a twelfth of the scene's light, and 1 all of it
    half, full = color.hlg_to_linear(np.array([0.5, 1.0]))
    assert full / half == pytest.approx(12, rel=1e-4)
    assert color.srgb_to_linear(np.array([0.04045, 0.5])) == pytest.approx([0.0031308, 0.2140], abs=1e-4)


def test_srgb_comes_back() -> None:
    assert color.linear_to_srgb(color.srgb_to_linear(LEVELS)) == pytest.approx(LEVELS, abs=1e-6)


@pytest.mark.parametrize(
    ("primaries", "red"),
    [
        (9, (1.6605, -0.1246, -0.0182)),  # BT.2087, table 2
        (12, (1.2249, -0.0421, -0.0196)),  # Display P3, as CSS Color 4 has it
    ],
)
def test_primaries(primaries: int, red: tuple[float, float, float]) -> None:
    matrix = color.to_srgb_matrix(primaries)
    assert matrix[:, 0] == pytest.approx(red, abs=2e-4)
    assert matrix.sum(1) == pytest.approx([1, 1, 1], abs=1e-6)


def test_white_stays_white_where_it_is_another() -> None:
    assert color.to_srgb_matrix(11) @ np.ones(3) == pytest.approx([1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("matrix", list(color.LUMA))
@pytest.mark.parametrize("full_range", [True, False])
def test_yuv_to_rgb_undoes_the_definition(matrix: str, full_range: bool) -> None:
    red, blue = color.LUMA[matrix]
    rgb = np.random.default_rng(0).uniform(size=(8, 8, 3))
    y = rgb @ (red, 1 - red - blue, blue)
    u, v = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
    coded = [y * 4095, u * 4095 + 2048, v * 4095 + 2048]
    if not full_range:
        coded = [16 * (16 + 219 * y), 16 * (128 + 224 * u), 16 * (128 + 224 * v)]
    yuv = np.rint(np.stack(coded, -1)).astype(np.uint16)
    assert color.yuv_to_rgb(yuv, matrix, 12, full_range=full_range) == pytest.approx(rgb, abs=1e-3)


@pytest.mark.parametrize("primaries", [1, 9, 11, 12])
def test_pictures_in_linear_light_come_back_as_srgb(primaries: int) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 256, (64, 64, 3))
    light = color.srgb_to_linear(truth / 255) @ np.linalg.inv(color.to_srgb_matrix(primaries)).T
    coded = np.rint(np.clip(light, 0, 1) * 65535).astype(np.uint16)
    picture, bright = color.to_srgb(coded, Coding(color.LINEAR, primaries))
    inside = (light >= 0).all(-1) & (light <= 1).all(-1)  # blue of BT.709 lies outside DCI-P3 by its white
    assert inside.mean() > 0.5
    assert np.abs(picture[inside].astype(int) - truth[inside]).max() <= 1
    assert bright == 0


def test_what_is_brighter_than_white_keeps_its_hue_and_goes_to_white() -> None:
    def code(nits: float) -> int:
        levels = color.pq_to_linear(np.arange(65536) / 65535)
        return int(np.searchsorted(levels, nits / 203))

    coded = np.array([[[code(n), code(n / 2), code(n / 4)] for n in (203, 406, 4060)]], np.uint16)
    picture, bright = color.to_srgb(coded, Coding(color.PQ, 1))
    below, above, far = picture[0].astype(int)
    assert below.tolist() == pytest.approx([255, 188, 137], abs=1)  # sRGB of 1, 1/2, 1/4
    assert (above[0], far[0]) == (255, 255)
    assert below[1] < above[1] < far[1]
    assert above[2] < above[1]
    assert far.min() > 245
    assert bright == pytest.approx(2 / 3)


def test_what_is_shown_as_it_is_and_what_cannot_be_read() -> None:
    assert all(Coding(t, p).is_srgb for t in (1, 2, 6, 13, 14) for p in (1, 2, 5, 6))
    assert not any(coding.is_srgb for coding in (Coding(1, 12), Coding(16, 1), Coding(8, 1)))
    assert "logarithmic" in (Coding(9, 1).fault() or "")
    assert "primaries" in (Coding(1, 10).fault() or "")
    assert Coding(18, 9).fault() is None
