"""Background removal against pictures whose true mask is known."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vid4d.clip.clip import read_clip
from vid4d.clip.matting import (
    _in_usual_light,
    alpha_is_meaningful,
    fit_background,
    matte,
    remove_plain_background,
)
from vid4d.clip.matting_onnx import (
    KNOWN,
    MODELS,
    find_model,
    free_colors,
    model_input,
    model_mask,
    model_spec,
)
from vid4d.errors import InputError
from vid4d.media.keying import Background

SIDE = 120


def disc(x: float, y: float, radius: float, side: int = SIDE) -> np.ndarray:
    """Exact-looking coverage of a disc: 1 inside, 0 outside, a ramp of one pixel."""
    v, u = np.mgrid[:side, :side]
    return np.clip(radius - np.hypot(u + 0.5 - x, v + 0.5 - y) + 0.5, 0, 1)


def over(alpha: np.ndarray, color: np.ndarray, background: np.ndarray) -> np.ndarray:
    picture = alpha[..., None] * color + (1 - alpha[..., None]) * background
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def backgrounds() -> dict[str, np.ndarray]:
    v, u = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    vignette = 225 - 30 * (u**2 + v**2) ** 1.5
    return {
        "white": np.full((SIDE, SIDE, 3), 255.0),
        "green": np.full((SIDE, SIDE, 3), (30.0, 190.0, 60.0)),
        "gradient": np.dstack([150 + 40 * u, 160 + 50 * v, 190 - 30 * u * v]),
        "vignette": np.dstack([vignette] * 3),
    }


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("name", list(backgrounds()))
def test_plain_masks_match_the_truth(name: str, noise: float) -> None:
    random = np.random.default_rng(1)
    truth = [disc(50 + 5 * i, 60, 24) for i in range(4)]
    frames = [
        over(
            a,
            np.array([170.0, 40.0, 90.0]),
            backgrounds()[name] + noise * random.normal(size=(SIDE, SIDE, 3)),
        )
        for a in truth
    ]
    result = remove_plain_background(frames)
    assert result.method == "plain"
    assert result.confidence > 0.7
    for frame, a in zip(result.frames, truth, strict=True):
        alpha = frame[..., 3] / 255
        assert iou(alpha > 0.5, a > 0.5) > 0.97
        assert alpha[ndimage.binary_erosion(a > 0.99, iterations=2)].min() == 1
        assert alpha[~ndimage.binary_dilation(a > 0, iterations=2)].max() == 0


def test_edges_are_soft_and_free_of_the_background() -> None:
    truth = disc(60, 60, 30)
    color = np.array([200.0, 30.0, 30.0])
    (frame,) = remove_plain_background([over(truth, color, backgrounds()["white"])]).frames
    alpha = frame[..., 3] / 255
    assert np.abs(alpha - truth).max() < 0.12
    visible = alpha > 0.15
    assert np.abs(frame[visible][:, :3] - color).max() < 25  # white would be 225 away


def test_bright_spots_inside_stay_but_gaps_open() -> None:
    """A white highlight of 4 pixels belongs to the object, a gap of 20x30 bare pixels does not."""
    truth = np.zeros((SIDE, SIDE))
    truth[20:100, 20:100] = 1
    picture = over(truth, np.array([60.0, 60.0, 120.0]), backgrounds()["white"])
    picture[30:34, 30:34] = 255
    picture[50:80, 50:70] = 255
    (frame,) = remove_plain_background([picture]).frames
    assert frame[31, 31, 3] == 255
    assert frame[65, 60, 3] == 0
    assert frame[60, 96, 3] == 255
    near = picture.copy()
    near[55:65, 93:98] = 255  # 2 pixels from the outline: a gap between two fingers
    (frame,) = remove_plain_background([near]).frames
    assert frame[60, 95, 3] == 0
    shaded = picture.copy()
    shaded[50:80, 50:70] = np.linspace(238, 252, 20)[None, :, None]  # nearly white, but shaded: object
    (frame,) = remove_plain_background([shaded]).frames
    assert frame[65, 55, 3] == 255


def test_the_border_may_be_partly_covered() -> None:
    """An object that leaves the picture at the bottom does not bend the fitted background."""
    truth = np.zeros((SIDE, SIDE))
    truth[40:, 30:90] = 1
    background = backgrounds()["gradient"]
    picture = over(truth, np.array([20.0, 20.0, 20.0]), background)
    fit = fit_background([picture])
    assert np.abs(fit.surface - background)[truth == 0].max() < 6
    (frame,) = remove_plain_background([picture]).frames
    assert iou(frame[..., 3] > 127, truth > 0.5) > 0.98


def test_a_flickering_light_is_followed() -> None:
    truth = disc(60, 60, 25)
    frames = [
        over(truth, np.array([40.0, 90.0, 40.0]), backgrounds()["gradient"] + step) for step in (0, 14, -14)
    ]
    result = remove_plain_background(frames)
    for frame in result.frames:
        assert iou(frame[..., 3] > 127, truth > 0.5) > 0.97
    assert any("the light on the background changes by 28 of 255" in note for note in result.notes)
    assert remove_plain_background(frames[:1] * 3).notes == ()


def test_the_usual_light_is_that_of_most_frames() -> None:
    """Of five frames the brightness of one is off by 80; of a strobe's no two are alike, so all are taken."""

    def usual(*light: float) -> list[bool]:
        offsets = np.repeat(np.array(light, np.float32)[:, None], 3, 1)
        return _in_usual_light(Background(np.zeros((2, 2, 3), np.float32), offsets, 0.5, 1.0)).tolist()

    assert usual(0, 1, 80, -1, 0) == [True, True, False, True, True]
    assert usual(-40, -20, 0, 20, 40) == [True] * 5
    assert usual(0) == [True]


def test_an_outline_is_no_wider_where_compression_spreads_its_colors() -> None:
    """JPEG halves the colors' resolution; its blocks reach beyond the outline."""
    for x in (60.0, 60.5):
        truth = disc(60, x, 32)
        picture = over(truth, np.array([222.0, 120.0, 40.0]), np.full((SIDE, SIDE, 3), 240.0))
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=75, subsampling=2)
        (frame,) = remove_plain_background([np.asarray(Image.open(file).convert("RGB"))]).frames
        assert iou(frame[..., 3] > 127, truth > 0.5) > 0.95


def test_a_busy_background_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VID4D_MATTING", str(tmp_path))
    random = np.random.default_rng(2)
    texture = np.stack([ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), 3) for _ in range(3)], -1)
    texture = 128 + 60 * texture / texture.std()
    picture = over(disc(60, 60, 30), np.array([200.0, 30.0, 30.0]), texture)
    rgba = np.dstack([picture, np.full((SIDE, SIDE), 255, np.uint8)])
    for method in ("auto", "plain"):
        with pytest.raises(InputError, match=r"not plain.*--matting"):
            matte([rgba], method)


def test_alpha_is_used_only_where_it_says_something() -> None:
    rgba = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rgba[40:80, 40:80, :3] = (200, 0, 0)
    assert not alpha_is_meaningful([rgba])
    assert matte([rgba]).method == "plain"
    with pytest.raises(InputError, match="no transparency"):
        matte([rgba], "alpha")
    rgba[..., 3] = 0
    rgba[40:80, 40:80, 3] = 200
    result = matte([rgba])
    assert (result.method, result.confidence) == ("alpha", 1.0)
    seen = rgba[..., 3] > 0
    assert np.array_equal(result.frames[0][..., 3], rgba[..., 3])
    assert np.array_equal(result.frames[0][seen], rgba[seen])


def test_confidence_falls_with_contrast_and_noise() -> None:
    def confidence(color: float, noise: float) -> float:
        random = np.random.default_rng(3)
        background = 200 + noise * random.normal(size=(SIDE, SIDE, 3))
        ring = disc(60, 60, 30) - disc(60, 60, 26)
        picture = over(disc(60, 60, 30), np.full(3, color), background)
        picture = over(ring, np.full(3, 60.0), picture.astype(float))  # an outline, the inside is `color`
        return remove_plain_background([picture]).confidence

    assert confidence(60, 0) > 0.9
    assert confidence(207, 0.5) < 0.6
    assert confidence(60, 9) < confidence(60, 0)


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.97), (1.0, 0.0)])
def test_before_a_background_without_noise_pale_is_enough(noise: float, least: float) -> None:
    """A plate 5 steps of each channel from white with a red spot on it: found where nothing else differs.

    Where the background is noisy it is not, as marks of compression are of that strength.
    """
    random = np.random.default_rng(7)
    pale, red = np.zeros((SIDE, SIDE)), disc(60, 40, 12)
    pale[30:90, 35:85] = 1
    picture = over(pale, np.full(3, 250.0), backgrounds()["white"]).astype(float)
    picture = over(red, np.array([200.0, 30.0, 30.0]), picture)
    picture = picture - np.abs(noise * random.normal(size=(SIDE, SIDE, 3)))
    (frame,) = remove_plain_background([np.rint(picture.clip(0, 255)).astype(np.uint8)]).frames
    found = iou(frame[..., 3] > 127, np.maximum(pale, red) > 0.5)
    assert found > least
    if noise:
        assert found < 0.5


def test_model_input_and_mask_are_what_networks_expect() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[..., 0] = 128
    prepared = model_input(frame, MODELS["birefnet"], 32)
    assert prepared.shape == (1, 3, 32, 32)
    expected = [(128 / 255 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert prepared[0, :, 5, 5] == pytest.approx(expected, abs=1e-5)
    assert model_input(frame, MODELS["isnet"], 32)[0, :, 5, 5] == pytest.approx([0.5, -0.5, -0.5], abs=1e-5)

    logits = np.full((1, 1, 32, 32), -8.0)
    logits[..., 16:] = 8.0
    mask = model_mask(logits, (40, 60))
    assert mask.shape == (40, 60)
    assert mask[:, :20].max() < 0.01
    assert mask[:, 40:].min() > 0.99
    assert model_mask(np.full((1, 1, 8, 8), 0.25), (4, 4)) == pytest.approx(np.full((4, 4), 0.25))
    with pytest.raises(InputError, match="no mask"):
        model_mask(np.full((1, 1, 4, 4), np.nan), (4, 4))


def test_models_are_found_by_name_and_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VID4D_MATTING", str(tmp_path))
    (tmp_path / "isnet-general-use.onnx").write_bytes(b"x")
    assert find_model("isnet-general-use") == tmp_path / "isnet-general-use.onnx"
    file = find_model("isnet-general-use")
    with pytest.raises(InputError, match=r"does not say.*--matting-kind birefnet, isnet, u2net"):
        model_spec(file)  # its name says nothing
    assert model_spec(file, "u2net") is MODELS["u2net"]
    assert model_spec(file, metadata={"matting_kind": "birefnet"}) is MODELS["birefnet"]
    monkeypatch.setitem(KNOWN, hashlib.md5(b"x").hexdigest(), "isnet")
    assert model_spec(file) is MODELS["isnet"]
    with pytest.raises(InputError, match="'modnet' is not known"):
        model_spec(file, "modnet")
    with pytest.raises(InputError, match="isnet-general-use"):
        find_model("rembg")


def test_colors_at_soft_edges_lose_the_background() -> None:
    truth = ndimage.gaussian_filter(disc(60, 60, 30), 2)
    color = np.array([220.0, 40.0, 40.0])
    picture = over(truth, color, np.full((SIDE, SIDE, 3), (20.0, 200.0, 20.0)))
    edge = (truth > 0.4) & (truth < 0.8)
    freed = free_colors(picture, truth.astype(np.float32))
    before = np.abs(picture[edge] - color).mean()
    assert np.abs(freed[edge] - color).mean() < 0.25 * before


def sigmoid_of_red_onnx(path: Path, side: int = 32) -> None:
    """A network in ONNX's wire format, by hand: Slice the first channel of 1x3xSxS, Sigmoid, 1x1xSxS."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def field(number: int, value: bytes | int | str) -> bytes:
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        data = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(data)) + data

    def port(name: str, channels: int) -> bytes:
        shape = b"".join(field(1, field(1, d)) for d in (1, channels, side, side))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    def constant(name: str, value: int) -> bytes:
        return field(1, 1) + field(2, 7) + field(8, name) + field(9, struct.pack("<q", value))

    cut = b"".join(field(1, n) for n in ("x", "zero", "one", "one")) + field(2, "red") + field(4, "Slice")
    sigmoid = field(1, "red") + field(2, "y") + field(4, "Sigmoid")
    graph = field(1, cut) + field(1, sigmoid) + field(2, "g")
    graph += field(5, constant("zero", 0)) + field(5, constant("one", 1))
    graph += field(11, port("x", 3)) + field(12, port("y", 1))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))


def test_an_onnx_model_gives_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red above the mean of ImageNet becomes object: sigmoid((1 - 0.485) / 0.229) = 0.905."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("VID4D_MATTING", str(tmp_path))
    sigmoid_of_red_onnx(tmp_path / "red.onnx")
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[..., :3] = (0, 90, 0)
    rgba[8:24, 8:24, :3] = (255, 0, 0)
    result = matte([rgba, rgba], "red", kind="birefnet")
    assert result.method == "red"
    assert result.frames[1][16, 16, 3] == pytest.approx(0.9046 * 255, abs=1)
    assert result.frames[1][2, 2, 3] == pytest.approx(0.1074 * 255, abs=1)
    texture = rgba.copy()
    texture[..., 1] = np.random.default_rng(0).integers(0, 255, (32, 32))
    assert matte([texture], kind="birefnet").method == "red"  # not plain, so the installed model is taken


def test_a_kind_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VID4D_MATTING", str(tmp_path))
    with pytest.raises(
        InputError, match="--matting-kind isnet has no effect, for no installed matting model"
    ):
        read_clip(tmp_path, matting_kind="isnet")
    with pytest.raises(InputError, match="--matting-kind modnet: give auto, birefnet, isnet, u2net"):
        read_clip(tmp_path, matting_kind="modnet")
    with pytest.raises(InputError, match="--matting-kind has no effect beside --matting plain"):
        read_clip(tmp_path, matting="plain", matting_kind="isnet")


def test_a_damaged_model_is_an_input_error(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"bad\.onnx.*cannot be used"):
        matte([np.full((16, 16, 4), 255, np.uint8)], str(tmp_path / "bad.onnx"))


def test_keeping_shadows_keeps_the_doubt() -> None:
    """The lower half of a jar is nearly of the background's color, in a soft shadow: with it or without."""
    pictures = []
    v, u = np.mgrid[:135, :180].astype(float)
    for i in range(6):
        x = 80 + 3 * i
        soft = ndimage.gaussian_filter((np.hypot((u - x - 10) / 35, (v - 110) / 6) < 1).astype(float), 3)
        picture = np.array((214.0, 216, 220)) * (1 - 0.35 * soft)[..., None]
        inside = (abs(u - x) < 22) & (v > 35) & (v < 110)
        content = inside & (v >= 75) & (v < 107) & (abs(u - x) < 20)
        picture[inside] += (-9, 3, 9)
        picture[inside & (v < 75)] = (150, 60, 40)
        picture[content & ((u // 7 + v // 7) % 2 > 0)] = (60, 90, 120)
        noise = np.random.default_rng(i).normal(0, 0.8, picture.shape)
        pictures.append(np.rint(ndimage.gaussian_filter(picture + noise, (0.5, 0.5, 0))).astype(np.uint8))
    left_out, kept = (remove_plain_background(pictures, keep_shadows=keep) for keep in (False, True))
    assert left_out.confidence < 0.95
    assert kept.confidence <= left_out.confidence + 0.02
    assert any("looks like the background along" in note for note in kept.notes)
    assert np.mean([f[..., 3] > 127 for f in kept.frames]) > np.mean(
        [f[..., 3] > 127 for f in left_out.frames]
    )
