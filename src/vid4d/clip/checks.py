"""Warnings about a clip, in words, before hours are spent on it; loop detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.errors import install_hint
from vid4d.media.images import premultiplied

THUMBNAIL = 96
FEW_PIXELS = 60
"""Longer side of an object in the source, below which its details are guessed."""


def warn(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    originals: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    *,
    confidence: float,
    has_background: bool,
    enlarged: float,
    object_pixels: float | None = None,
    keys: Sequence[int] = (),
    moved: Float[np.ndarray, "t 2"] | float = 0.0,
) -> list[str]:
    """Warnings about cut-out frames, in source pixels before the crop.

    originals: the frames as they came, background included. times: seconds, to say where.
    enlarged: how much larger the crop shows the object than the source does. object_pixels: its
    longer side there. keys: which are key frames. moved: middles of windows that take its motion away.
    """
    masks = [f[..., 3] > 127 for f in frames]
    warnings = [
        _touches_border(masks, times),
        _area_jumps(masks, times),
        _several_objects(masks, times),
        _holes(masks, times),
        _faster_than_keys(masks, keys, moved),
        _soft_frames(frames, times),
        _camera_moves(originals, masks) if has_background else _half_clear(frames, times),
    ]
    if confidence < 0.6:
        warnings.append(
            f"the background was removed with low confidence ({confidence:.2f}): look at the strip, "
            "and give frames with transparency or a matting model if the masks are wrong "
            f"({install_hint('matting')} and --matting FILE.onnx)"
        )
    if enlarged > 1.5 or (object_pixels is not None and object_pixels < FEW_PIXELS):
        large = "" if object_pixels is None else f" and is {object_pixels:.0f} pixels large in the source"
        few = object_pixels is not None and object_pixels < FEW_PIXELS
        warnings.append(
            f"very low resolution: the object is enlarged {enlarged:.1f} times{large}; use "
            + (f"the original video or film from nearer: details need {FEW_PIXELS} pixels" if few else "")
            + ("" if few else "a larger video if there is one")
        )
    return [w for w in warnings if w]


def _at(times: Float[np.ndarray, " t"], which: Sequence[int]) -> str:
    shown = ", ".join(f"{times[i]:.2f}" for i in list(which)[:5])
    return f"at {shown} s" + (f" and {len(which) - 5} more times" if len(which) > 5 else "")


def _touches_border(masks: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    touching = [
        i
        for i, m in enumerate(masks)
        if max(m[0].sum(), m[-1].sum(), m[:, 0].sum(), m[:, -1].sum()) > max(2, 0.004 * max(m.shape))
    ]
    if not touching:
        return None
    return f"the mask touches the border of the picture {_at(times, touching)}: the object is cut off there"


def _area_jumps(masks: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    area = np.array([m.sum() for m in masks], np.float64)
    if len(area) < 3:
        return None
    change = np.abs(np.diff(np.log(np.maximum(area, 1))))
    jumps = np.nonzero((change > np.log(1.35)) & (change > 4 * np.median(change)))[0] + 1
    if len(jumps) == 0:
        return None
    return f"the mask's area jumps {_at(times, jumps.tolist())}: a part may be missing or a shadow caught"


def _several_objects(masks: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    several = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
        if count > 1:
            areas = np.sort(np.bincount(labels.ravel())[1:])[::-1]
            if areas[1] > 0.1 * areas[0]:
                several.append(i)
    if not several:
        return None
    return (
        f"several separate objects {_at(times, several)}: the method expects one, parts may drift; "
        "--click X,Y or --box chooses one"
    )


def _holes(masks: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    """Spots that are clear in one frame, and not in those before and after it."""
    step = max(1, max(masks[0].shape) // 256)
    small = [m[::step, ::step] for m in masks]
    holed = []
    for i in range(1, len(small) - 1):
        around = small[i - 1] & small[i + 1]
        inside = ndimage.binary_fill_holes(small[i]) & ~small[i]
        hole = ndimage.binary_opening(around & inside, np.ones((3, 3), bool))
        if hole.sum() > 0.01 * small[i].sum():
            holed.append(i)
    if not holed:
        return None
    return f"holes in the mask come and go {_at(times, holed)}: the object looks like the background there"


def _faster_than_keys(
    masks: Sequence[np.ndarray], keys: Sequence[int], moved: np.ndarray | float
) -> str | None:
    """The object's way through all frames against the way through the key frames."""
    if len(keys) < 2 or len(keys) == len(masks):
        return None
    center = np.array([[a.mean() for a in np.nonzero(m)[::-1]] for m in masks]) - moved
    size = float(np.median([np.sqrt(m.sum()) for m in masks]))

    def way(which: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(center[which], axis=0), axis=1).sum())

    whole, by_keys = way(np.arange(len(masks))), way(np.asarray(keys))
    if whole < 2 * by_keys or whole - by_keys < 2 * size:
        return None
    counts = (n for n in (12, 16, 24, 32, 48) if len(keys) < n < len(masks))
    enough = next(
        (n for n in counts if way(np.linspace(0, len(masks) - 1, n).round().astype(int)) > 0.8 * whole), 0
    )
    return (
        f"the object moves faster than the {len(keys)} key frames show: "
        + (f"--frames {enough} follows it, " if enough else "")
        + "or take a shorter part with --start and --end"
    )


def _half_clear(frames: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    """Areas of one alpha between clear and opaque; along a soft edge it rises."""
    found, levels = [], []
    for i, frame in enumerate(frames):
        alpha = frame[..., 3]
        low, high = ndimage.minimum_filter(alpha, 5), ndimage.maximum_filter(alpha, 5)
        half = (low > 24) & (high < 230) & (high - low < 32)
        if half.sum() > 0.01 * (alpha > 127).sum():
            found.append(i)
            levels.append(int(np.median(alpha[half])))
    if not found:
        return None
    return (
        f"the object is half clear in places {_at(times, found)} (alpha of about "
        f"{round(float(np.median(levels)))} of 255): what is below 128 is taken for clear; give alpha or "
        "--masks that are white there, unless it is glass"
    )


def sharpness(frame: UInt8[np.ndarray, "h w 4"]) -> float:
    """Finest over middle-sized detail inside the mask: falls with blur, not with the object's size."""
    inner = ndimage.binary_erosion(frame[..., 3] > 250, iterations=3)
    if inner.sum() < 64:
        return float("nan")
    grey = frame[..., :3].astype(np.float32).mean(-1)
    fine = ndimage.gaussian_filter(grey, 0.7) - ndimage.gaussian_filter(grey, 1.4)
    middle = ndimage.gaussian_filter(grey, 1.4) - ndimage.gaussian_filter(grey, 2.8)
    return float(np.abs(fine[inner]).mean() / (np.abs(middle[inner]).mean() + 0.25))


def _soft_frames(frames: Sequence[np.ndarray], times: np.ndarray) -> str | None:
    values = np.array([sharpness(f) for f in frames])
    if len(values) < 3 or not np.isfinite(values).any():
        return None
    soft = np.nonzero(values < 0.7 * np.nanmedian(values))[0]
    if len(soft) == 0:
        return None
    return f"soft frames {_at(times, soft.tolist())}: motion blur or wrong focus, they will look smeared"


def _camera_moves(originals: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> str | None:
    """Compares what lies outside all masks with the first frame; a plain background shows nothing."""
    if len(originals) < 2:
        return None
    union = np.any(np.stack([thumbnail(np.dstack([m * np.uint8(255)] * 4))[..., 0] > 2 for m in masks]), 0)
    outside = ~ndimage.binary_dilation(union, iterations=2)
    if outside.mean() < 0.05:
        return None
    greys = [thumbnail(f)[..., :3].mean(-1) for f in originals]
    texture = float(ndimage.gaussian_gradient_magnitude(greys[0], 0.7)[outside].mean())
    if texture < 1.5:
        return None
    change = max(
        float(np.median(np.abs(g - greys[0] - np.median((g - greys[0])[outside]))[outside])) for g in greys
    )
    if change < 0.4 * texture:
        return None
    return "the background moves or changes: the camera seems to move, the method expects a still one"


def thumbnail(rgba: UInt8[np.ndarray, "h w 4"], side: int = THUMBNAIL) -> Float[np.ndarray, "h2 w2 4"]:
    """A small copy, premultiplied, 0..255: for comparing frames."""
    h, w = rgba.shape[:2]
    scale = min(1.0, side / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    small = Image.fromarray(np.ascontiguousarray(rgba, np.uint8), "RGBA").resize(size, Image.Resampling.BOX)
    return premultiplied(np.asarray(small, np.float32) / 255) * 255


def loop_probes(count: int, most: int = 24) -> list[int]:
    """The frames that `loop_period` wants to see of `count`: the ends, and pairs of neighbours between."""
    if count <= 2 * most:
        return list(range(count))
    pairs = np.linspace(0, count - 2, most).round().astype(int)
    return sorted({0, 1, count - 2, count - 1, *pairs.tolist(), *(pairs + 1).tolist()})


def loop_period(thumbnails: Sequence[np.ndarray], probes: Sequence[int], count: int) -> int | None:
    """Frames in one period if the clip is a loop, else None.

    A loop ends one usual step before where it began (period `count`), or repeats its first frame (period
    `count` - 1), and has gone elsewhere in between. Fewer than 6 frames are never taken for one.
    """
    if count < 6:
        return None
    at = dict(zip(probes, thumbnails, strict=True))

    def difference(i: int, j: int) -> float:
        return float(np.sqrt(np.mean((at[i] - at[j]) ** 2)))

    steps = np.array([difference(i, i + 1) for i in probes if i + 1 in at])
    moving = steps[steps > 0.1 * steps.max()] if steps.max() > 0 else steps
    typical = float(np.median(moving)) if len(moving) else 0.0
    away = max(difference(0, i) for i in probes)
    closing = difference(0, count - 1)
    if away < 0.5 or away < 1.5 * typical or closing > 0.6 * away:
        return None
    if closing <= 0.35 * typical:
        return count - 1
    return count if closing <= 1.25 * typical else None
