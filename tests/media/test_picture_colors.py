"""Pictures with profiles: Display P3 and others come out as the sRGB that was meant."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from vid4d.clip.sources import open_source
from vid4d.media import color

PATCHES = np.array(
    [(220, 40, 30), (30, 160, 60), (20, 60, 200), (240, 200, 40), (128, 128, 128), (255, 255, 255), (9, 9, 9)]
)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50, D65 = np.array([0.9642, 1.0, 0.8249]), np.array([0.95046, 1.0, 1.08906])
SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def picture() -> np.ndarray:
    return np.repeat(np.repeat(PATCHES[None], 8, 0), 8, 1).astype(np.uint8)


def p3_profile() -> bytes:
    """An ICC profile of Display P3, made by the specification (ICC.1:2022): matrix and sRGB's curve."""
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ D65)) @ BRADFORD
    columns = adapt @ SRGB_TO_XYZ @ color.to_srgb_matrix(12)

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    def text(words: str) -> bytes:
        data = words.encode("utf-16-be")
        return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data

    curve = (
        b"para"
        + bytes(4)
        + struct.pack(">HH", 3, 0)
        + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )
    tags = {b"desc": text("P3"), b"cprt": text("none"), b"wtpt": b"XYZ " + bytes(4) + fixed(*D50)}
    for i, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*columns[:, i])
        tags[name + b"TRC"] = curve
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def in_p3(rgb: np.ndarray) -> np.ndarray:
    light = color.srgb_to_linear(rgb / 255) @ np.linalg.inv(color.to_srgb_matrix(12)).T
    return np.rint(color.linear_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def shown() -> np.ndarray:
    """What the 8 bits of P3 mean in sRGB: near the edge of the gamut their steps are larger than ours."""
    light = color.srgb_to_linear(in_p3(picture()) / 255) @ color.to_srgb_matrix(12).T
    exact = color.linear_to_srgb(np.clip(light, 0, 1)) * 255
    assert np.abs(exact - picture()).max() < 2.5
    return exact


def read(file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    source = open_source(file)
    (frame,) = source.read([0])
    return frame, source.notes


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "jpg"])
def test_display_p3_is_converted(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    extra = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(ending, {})
    Image.fromarray(in_p3(picture())).save(file, icc_profile=p3_profile(), **extra)
    frame, notes = read(file)
    assert np.abs(in_p3(picture()).astype(int) - picture()).max() > 12
    error = np.abs(frame[..., :3] - shown())[:, 2::8]
    assert error.max() <= (3 if ending == "jpg" else 1)
    assert notes == ()


def test_alpha_stays_and_palettes_are_converted(tmp_path: Path) -> None:
    alpha = np.where(np.arange(picture().shape[1]) % 8 < 4, 90, 255)[None].repeat(8, 0).astype(np.uint8)
    alpha[:2] = 0
    Image.fromarray(np.dstack([in_p3(picture()), alpha])).save(tmp_path / "a.png", icc_profile=p3_profile())
    frame, _ = read(tmp_path / "a.png")
    assert (frame[..., 3] == alpha).all()
    assert np.abs(frame[..., :3] - shown())[alpha > 0].max() <= 1
    Image.fromarray(in_p3(picture())).quantize(16).save(tmp_path / "p.png", icc_profile=p3_profile())
    assert np.abs(read(tmp_path / "p.png")[0][..., :3] - shown()).max() <= 1


def test_srgb_profiles_change_no_byte(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", icc_profile=profile)
    assert (read(tmp_path / "a.png")[0][..., :3] == noise).all()


def test_a_profile_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png", icc_profile=b"no profile")
    frame, notes = read(tmp_path / "a.png")
    assert (frame[..., :3] == picture()).all()
    assert "profile" in notes[0]


def test_cmyk_without_a_profile_is_told(tmp_path: Path) -> None:
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "a.tif")
    assert "CMYK without a profile" in read(tmp_path / "a.tif")[1][0]


@pytest.mark.parametrize("gamma", [1.0, 0.55])
def test_the_gamma_of_a_png(tmp_path: Path, gamma: float) -> None:
    coded = np.rint(color.srgb_to_linear(picture() / 255) ** gamma * 255).astype(np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", round(gamma * 100000)))
    Image.fromarray(coded).save(tmp_path / "a.png", pnginfo=info)
    frame, _ = read(tmp_path / "a.png")
    seen = picture() > 60  # in the dark, 8 bits of linear light hold less
    assert np.abs(frame[..., :3].astype(int) - picture())[seen].max() <= 3
    usual = PngImagePlugin.PngInfo()
    usual.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(picture()).save(tmp_path / "b.png", pnginfo=usual)
    assert (read(tmp_path / "b.png")[0][..., :3] == picture()).all()
