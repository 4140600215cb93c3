"""Clips of the kinds that people bring, drawn with their true masks; benchmarks/clips.py measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from scipy import ndimage

FRAMES, HEIGHT, WIDTH = 12, 240, 320
Frames = list[np.ndarray]


def snail(
    x: float, y: float, r: float, turn: float, *, size: tuple[int, int] = (HEIGHT, WIDTH), white: bool = False
) -> np.ndarray:
    """A striped shell on a foot, with two feelers that swing; RGBA, edges of one pixel."""
    v, u = np.mgrid[: size[0], : size[1]] + 0.5
    rgba = np.zeros((*size, 4), np.float32)

    def put(distance: np.ndarray, color: Any) -> None:
        a = np.clip(0.5 - distance, 0, 1)[..., None]
        rgba[..., :3] = (1 - a) * rgba[..., :3] + a * np.asarray(color, np.float32)
        rgba[..., 3:] = a + (1 - a) * rgba[..., 3:]

    shade = np.clip(1 - 0.35 * (v - y) / r, 0.6, 1.2)[..., None]
    base = np.array((236, 236, 232)) if white else np.array((190, 120, 60))
    foot = np.hypot(np.maximum(np.abs(u - x - 0.2 * r) - 1.2 * r, 0), v - y - 0.8 * r) - 0.22 * r
    put(foot, np.array((214, 214, 216) if white else (150, 160, 70)) * shade)
    for side in (0.0, 0.45):
        angle = -0.9 - side + 0.35 * np.sin(turn + side)
        along = np.clip((u - x - 1.3 * r) * np.cos(angle) + (v - y - 0.7 * r) * np.sin(angle), 0, 0.9 * r)
        away = np.hypot(u - x - 1.3 * r - along * np.cos(angle), v - y - 0.7 * r - along * np.sin(angle))
        put(away - 0.07 * r, (170, 60, 40))
    rings = np.sin(9 * np.hypot(u - x, v - y) / r - turn)[..., None]
    put(np.hypot(u - x, v - y) - 0.85 * r, base * shade * (1 + (0.02 if white else 0.25) * rings))
    rgba[..., 3] *= 255
    return np.rint(np.clip(rgba, 0, 255)).astype(np.uint8)


def walk(
    count: int = FRAMES,
    *,
    r: float = 42,
    travel: float = 30,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    **how: Any,
) -> Frames:
    """A snail that goes to the right."""
    start = size[1] / 2 - travel / 2 - 0.15 * r
    places = np.linspace(start, start + travel, count)
    return [snail(x, 0.5 * size[0], r, 0.6 * i, size=size, **how) for i, x in enumerate(places)]


def over(frames: Sequence[np.ndarray], ground: Any) -> Frames:
    """Opaque RGB before one ground, or one for each frame."""
    grounds = ground if isinstance(ground, list) else [ground] * len(frames)
    result = []
    for rgba, below in zip(frames, grounds, strict=True):
        a = rgba[..., 3:] / 255
        result.append(
            np.rint(np.clip(a * rgba[..., :3] + (1 - a) * np.asarray(below), 0, 255)).astype(np.uint8)
        )
    return result


def shadows(frames: Sequence[np.ndarray], color: Sequence[float], dark: float = 0.45) -> Frames:
    """Grounds with a soft ellipse below the foot."""
    result = []
    for rgba in frames:
        v, u = np.mgrid[: rgba.shape[0], : rgba.shape[1]]
        rows, columns = np.nonzero(rgba[..., 3] > 127)
        away = np.hypot((u - columns.mean()) / np.ptp(columns) * 1.7, (v - rows.max()) / np.ptp(rows) * 4)
        result.append(np.asarray(color) * (1 - dark * np.exp(-(away**2)))[..., None])
    return result


def folder(place: Path, frames: Sequence[np.ndarray], name: str = "{:03}.png", **how: Any) -> Path:
    place.mkdir(exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(place / name.format(i), **how)
    return place


def video(place: Path, frames: Sequence[np.ndarray], *, squeeze: int = 1, crf: int = 10) -> Path:
    """H.264, 24 frames a second. squeeze: pixels are so many times wider than high."""
    import av

    with av.open(str(place), "w") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        h, w = frames[0].shape[:2]
        stream.height, stream.width, stream.pix_fmt = h, w // squeeze, "yuv420p"
        stream.options = {"crf": str(crf)}
        if squeeze > 1:
            stream.codec_context.sample_aspect_ratio = Fraction(squeeze)
        for frame in frames:
            small = np.asarray(Image.fromarray(frame).resize((w // squeeze, h), Image.Resampling.BOX))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(small), "rgb24")))
        container.mux(stream.encode())
    return place


@dataclass
class Case:
    """source: of the clip. truth: RGBA of the frames that should be used. options: of `ClipOptions`.

    refused: words of the sentence that the clip is refused with, in place of a result.
    """

    source: Path
    truth: Frames
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


GREY, BLUE = (236.0, 236.0, 236.0), (120.0, 165.0, 215.0)


def inverted_masks(place: Path) -> Case:
    t = walk()
    folder(place, over(t, np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3))), "view_{}_rgb.png")
    folder(place, [np.where(f[..., 3] > 127, 0, 255).astype(np.uint8) for f in t], "view_{}_mask.png")
    return Case(place, t)


def masks_for_a_video(place: Path) -> Case:
    t = walk()
    ground = np.random.default_rng(1).normal(128, 50, (HEIGHT, WIDTH, 3))
    masks = folder(Path(f"{place}_masks"), [(f[..., 3] > 127).astype(np.uint8) for f in t])
    return Case(
        video(place.with_suffix(".mp4"), over(t, ndimage.gaussian_filter(ground, (4, 4, 0)))),
        t,
        {"masks": masks},
    )


def alpha_of_one(place: Path) -> Case:
    t = walk()
    return Case(folder(place, [np.dstack([f[..., :3], f[..., 3] // 128]) for f in t]), t)


def premultiplied(place: Path) -> Case:
    t = walk(r=60)
    for f in t:
        f[..., 3] = ndimage.gaussian_filter(f[..., 3].astype(np.float32), 2)
        near = ndimage.distance_transform_edt(f[..., 3] < 200, return_indices=True)[1]
        f[..., :3] = f[near[0], near[1], :3]
    return Case(
        folder(place, [np.dstack([f[..., :3] * (f[..., 3:] / 255), f[..., 3]]).astype(np.uint8) for f in t]),
        t,
    )


def specks_and_haze(place: Path) -> Case:
    t, rng = walk(), np.random.default_rng(2)
    dirty = [f.copy() for f in t]
    for i, f in enumerate(dirty):
        f[f[..., 3] == 0] = (180, 180, 180, 3)
        if i % 4 == 1:
            y, x = rng.integers(5, 30, 2)
            f[y : y + 3, x : x + 3] = (90, 200, 90, 255)
    return Case(folder(place, dirty), t)


def caption(place: Path) -> Case:
    t = walk()
    pictures = over(t, GREY)
    for p in pictures:
        p[212:226, 200:300:4] = (30, 30, 30)
        p[212:226, 202:300:8] = (30, 30, 30)
    return Case(video(place.with_suffix(".mp4"), pictures), t)


def letterbox(place: Path) -> Case:
    t = walk()
    pictures = over(t, np.linspace(190, 230, WIDTH)[None, :, None])
    for p in pictures:
        p[:30] = p[-30:] = 0
    return Case(video(place.with_suffix(".mp4"), pictures), t)


def cut(place: Path) -> Case:
    t, other = walk(20), walk(9, white=True, travel=-60)
    pictures = over(t, BLUE) + over(other, (70.0, 90.0, 60.0))
    return Case(video(place.with_suffix(".mp4"), pictures), t, {"trim": "auto"})


def faded_ends(place: Path) -> Case:
    t = walk(20)
    shown = over(t, GREY)
    for i in range(4):
        for k in (i, -1 - i):
            shown[k] = np.rint(shown[k] * (i / 4)).astype(np.uint8)
    return Case(video(place.with_suffix(".mp4"), shown), t[4:16], {"trim": "auto"})


def shadow_on_grey(place: Path) -> Case:
    t = walk()
    return Case(video(place.with_suffix(".mp4"), over(t, shadows(t, GREY))), t)


def shadow_on_blue(place: Path) -> Case:
    t = walk()
    return Case(video(place.with_suffix(".mp4"), over(t, shadows(t, BLUE, 0.3))), t)


def gaps_before_green(place: Path) -> Case:
    """A snail on a stand with two gaps, which move and are in its shade."""
    green, t, grounds = np.array((60.0, 150.0, 70.0)), [], []
    for i, frame in enumerate(walk()):
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        x = u - 130 - 3 * i
        solid = (np.abs(x - 25) < 55) & (np.abs(v - 180) < 28)
        solid &= ~((np.abs(np.abs(x - 25) - 24) < 14 + 6 * np.sin(i)) & (np.abs(v - 181) < 16))
        t.append(np.where(solid[..., None], np.array((150, 100, 60, 255), np.uint8), frame))
        grounds.append(green * np.where((v > 152) & (v < 208) & (np.abs(x - 25) < 55), 0.93, 1.0)[..., None])
    return Case(video(place.with_suffix(".mp4"), over(t, grounds)), t)


def greyed(frames: Frames, level: float = 1.0) -> Frames:
    """Frames without hue, darker by a factor."""
    grey = [level * f[..., :3].mean(-1, keepdims=True) for f in frames]
    return [np.dstack([g, g, g, f[..., 3]]).astype(np.uint8) for g, f in zip(grey, frames, strict=True)]


def dark_object_in_shadow(place: Path) -> Case:
    t = greyed(walk(), 0.35)
    return Case(folder(place, over(t, shadows(t, GREY))), t)


def grey_object_no_shadow(place: Path) -> Case:
    t = greyed(walk())
    return Case(folder(place, over(t, GREY)), t)


def white_before_white(place: Path) -> Case:
    t = walk(white=True)
    return Case(folder(place, over(t, (255.0, 255.0, 255.0))), t)


def white_with_a_shadow(place: Path) -> Case:
    t = walk(white=True)
    return Case(folder(place, over(t, shadows(t, (255.0, 255.0, 255.0)))), t)


def grey_with_a_shadow(place: Path) -> Case:
    t = greyed(walk())
    return Case(folder(place, over(t, shadows(t, GREY))), t)


def crossing(place: Path) -> Case:
    t = walk(20, r=24, travel=210)
    return Case(video(place.with_suffix(".mp4"), over(t, GREY)), t)


def held_by_a_hand(place: Path) -> Case:
    t = walk()
    arm = np.abs(np.arange(WIDTH) - np.arange(HEIGHT)[:, None]) < 16
    arm &= np.arange(HEIGHT)[:, None] > 145
    hand = [np.where(arm[..., None], (222, 170, 140), p).astype(np.uint8) for p in over(t, BLUE)]
    seen = [np.dstack([f[..., :3], f[..., 3] * ~arm]) for f in t]
    return Case(video(place.with_suffix(".mp4"), hand), seen, {"held": True})


def small_in_4k(place: Path) -> Case:
    t = walk(4, r=60, travel=60, size=(2160, 3840))
    return Case(folder(place, over(t, GREY), compress_level=1), t)


def display_p3(place: Path) -> Case:
    t = walk()
    p3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
    linear = [
        np.where(p <= 10, p / 255 / 12.92, ((p / 255 + 0.055) / 1.055) ** 2.4) @ p3.T for p in over(t, GREY)
    ]
    coded = [
        np.where(a <= 0.0031308, 12.92 * a, 1.055 * np.maximum(a, 0) ** (1 / 2.4) - 0.055) for a in linear
    ]
    pictures = [np.rint(255 * np.clip(c, 0, 1)).astype(np.uint8) for c in coded]
    return Case(folder(place, pictures, icc_profile=p3_profile()), t)


def p3_profile() -> bytes:
    """sRGB's profile with the primaries of Display P3, adapted to D50."""
    import struct

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
    }
    for k in range(struct.unpack(">I", data[128:132])[0]):
        name, offset, _ = struct.unpack(">4sII", data[132 + 12 * k : 144 + 12 * k])
        if name in primaries:
            data[offset + 8 : offset + 20] = struct.pack(">3i", *(round(v * 65536) for v in primaries[name]))
    return bytes(data)


def wide_pixels(place: Path) -> Case:
    t = walk()
    return Case(video(place.with_suffix(".mp4"), over(t, GREY), squeeze=2), t)


def names_with_decimals(place: Path) -> Case:
    t = walk(travel=12)
    place.mkdir()
    for i, f in enumerate(t):
        Image.fromarray(f).save(place / f"{i * 0.5 + 8:g}.png")
    return Case(place, t)


def vignette_and_noise(place: Path) -> Case:
    t = walk()
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    fall = 1 - 0.25 * (((u - 160) / 160) ** 2 + ((v - 120) / 120) ** 2)[..., None] / 2
    rng = np.random.default_rng(4)
    noisy = [
        np.clip(p + rng.normal(0, 4, p.shape), 0, 255).astype(np.uint8)
        for p in over(t, np.array(BLUE) * fall)
    ]
    return Case(folder(place, noisy), t)


def turned_photographs(place: Path) -> Case:
    t = walk()
    place.mkdir()
    for i, p in enumerate(over(t, GREY)):
        tags = Image.Exif()
        tags[0x0112] = 6
        turned = Image.fromarray(p).transpose(Image.Transpose.ROTATE_90)
        turned.save(place / f"IMG ({i}).jpg", quality=96, exif=tags)
    return Case(place, t)


def two_sequences(place: Path) -> Case:
    folder(place, walk(), "left_{:03}.png")
    folder(place, walk(white=True), "right_{:03}.png")
    return Case(place, [], refused="left_*.png")


def busy_background(place: Path) -> Case:
    ground = np.random.default_rng(5).normal(128, 400, (HEIGHT, WIDTH, 3))
    return Case(
        folder(place, over(walk(), ndimage.gaussian_filter(ground, (6, 6, 0)))), [], refused="--matting"
    )


def smeared(place: Path) -> Case:
    """A shutter that is open for all of the way to the next frame; the truth is the middle of the way."""
    sharp = walk(12 * 20, travel=180, r=30)
    grounds = over(sharp, GREY)
    pictures = [
        np.rint(np.mean(grounds[i : i + 20], 0, dtype=np.float32)).astype(np.uint8) for i in range(0, 240, 20)
    ]
    return Case(folder(place, pictures), sharp[10::20], {"follow": "no"})


def jitter(place: Path) -> Case:
    """Frames that were scaled one by one; the truth has the jitter."""
    rng = np.random.default_rng(6)
    t = [snail(150, 120, 60 * (1 + 0.05 * rng.standard_normal()), 0.3 * i) for i in range(FRAMES)]
    return Case(folder(place, t), t)


KINDS: tuple[Callable[[Path], Case], ...] = (
    *(
        inverted_masks,
        masks_for_a_video,
        alpha_of_one,
        premultiplied,
        specks_and_haze,
        caption,
        letterbox,
        cut,
    ),
    *(faded_ends, shadow_on_grey, shadow_on_blue, gaps_before_green),
    *(dark_object_in_shadow, grey_object_no_shadow),
    *(
        white_before_white,
        white_with_a_shadow,
        grey_with_a_shadow,
        crossing,
        held_by_a_hand,
        small_in_4k,
        display_p3,
        wide_pixels,
        names_with_decimals,
    ),
    *(smeared, jitter, vignette_and_noise, turned_photographs, two_sequences, busy_background),
)
