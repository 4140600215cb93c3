"""Warnings about a clip, in words, before hours are spent on it; loop detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip.pace import faster_than_keys
from vid4d.clip.pieces import shifted
from vid4d.errors import install_hint
from vid4d.media.images import premultiplied
from vid4d.media.keying import around, filled, mask_middle

THUMBNAIL = 96
FEW_PIXELS = 60
"""Longer side of an object in the source, below which its details are guessed."""
SCALES = (0.7, 1.4, 2.8)
"""Blurs between which detail is fine, and middle-sized, pixels."""
FARTHEST = 12
"""Pixels that the widest of these reaches, and one."""


def warn(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    originals: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    *,
    confidence: float,
    has_background: bool,
    object_pixels: float,
    keys: Sequence[int] = (),
    rate: float | None = None,
    moved: Float[np.ndarray, "t 2"] | float = 0.0,
    left_out: bool = False,
    prompted: bool = False,
    held: bool = False,
) -> list[str]:
    """Warnings about cut-out frames, in source pixels before the crop.

    originals: the frames as they came, background included. times: seconds, to say where.
    object_pixels: the object's longer side where it is largest, in pixels of the source.
    keys: which are key frames. rate: so many a second, where the clip's length decides.
    moved: middles of windows that take its motion away.
    left_out: whether something was that --keep would keep. prompted: whether --click or --box chose. held:
    whether it is said already what lies at the border.
    """
    seen = [_Seen.of(f, all_opaque=has_background) for f in frames]
    warnings = [
        None if held else _touches_border(seen, times),
        _area_jumps(seen, times),
        _several_objects(seen, times, prompted),
        _holes(frames, seen, times),
        faster_than_keys(
            frames, np.array([s.center for s in seen]), [s.area for s in seen], keys, moved, rate
        ),
        _soft_frames(seen, times),
        _camera_moves(originals, frames) if has_background else _half_clear(seen, times),
    ]
    if confidence < 0.6:
        warnings.append(
            f"the background was removed with low confidence ({confidence:.2f}): look at the strip, "
            + ("and give --keep if what was left out belongs to the object, " if left_out else "and give ")
            + "--crop to where the background is plain, frames with transparency or a matting model "
            "if the masks are wrong "
            f"({install_hint('matting')} and --matting FILE.onnx)"
        )
    if round(object_pixels) < FEW_PIXELS:
        warnings.append(
            f"very low resolution: the object is {round(object_pixels)} pixels large in the source, and "
            f"details need {FEW_PIXELS}: use the original video, or film from nearer"
        )
    return [w for w in warnings if w]


def _at(times: Float[np.ndarray, " t"], which: Sequence[int]) -> str:
    shown = ", ".join(f"{times[i]:.2f}" for i in list(which)[:5])
    return f"at {shown} s" + (f" and {len(which) - 5} more times" if len(which) > 5 else "")


@dataclass(frozen=True)
class _Seen:
    """What one cut-out frame shows. area: pixels. touches: the border of the picture. several: things of some
    size. center: x and y. half_clear: alpha of what is half clear, if that is much. sharpness: of its inside.
    """

    area: int
    touches: bool
    several: bool
    center: Float[np.ndarray, "2"]
    half_clear: int | None
    sharpness: float

    @classmethod
    def of(cls, frame: UInt8[np.ndarray, "h w 4"], *, all_opaque: bool) -> _Seen:
        """all_opaque: the object is known to be, but for its edge."""
        mask = frame[..., 3] > 127
        rows, columns = mask.sum(1), mask.sum(0)
        area = int(rows.sum())
        return cls(
            area,
            bool(touched_sides(mask).any()),
            are_several(mask),
            mask_middle(columns, rows),
            None if all_opaque else _half_clear_alpha(frame[..., 3], area),
            sharpness(frame),
        )


def touched_sides(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "4"]:
    """Which sides of the picture (top, bottom, left, right) a mask touches with more than a few pixels."""
    ends = np.array([side.sum() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])])
    return ends > max(2, 0.004 * max(mask.shape))


def _touches_border(seen: Sequence[_Seen], times: np.ndarray) -> str | None:
    touching = [i for i, s in enumerate(seen) if s.touches]
    if not touching:
        return None
    return f"the mask touches the border of the picture {_at(times, touching)}: the object is cut off there"


def _area_jumps(seen: Sequence[_Seen], times: np.ndarray) -> str | None:
    area = np.array([s.area for s in seen], np.float64)
    if len(area) < 3:
        return None
    change = np.abs(np.diff(np.log(np.maximum(area, 1))))
    jumps = np.nonzero((change > np.log(1.35)) & (change > 4 * np.median(change)))[0] + 1
    if len(jumps) == 0:
        return None
    return f"the mask's area jumps {_at(times, jumps.tolist())}: a part may be missing or a shadow caught"


def are_several(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether there are two things, not very close, of which the second has a tenth of the first's area."""
    if not mask.any():
        return False
    part = mask[around(mask, 2)]
    if ndimage.label(part)[1] < 2:
        return False
    labels, count = ndimage.label(ndimage.binary_dilation(part, iterations=2))
    areas = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    return count > 1 and bool(areas[1] > 0.1 * areas[0])


def _several_objects(seen: Sequence[_Seen], times: np.ndarray, prompted: bool) -> str | None:
    several = [i for i, s in enumerate(seen) if s.several]
    if not several:
        return None
    return (
        f"several separate objects {_at(times, several)}: the method expects one, parts may drift; "
        + ("give --masks where --click and --box cannot part them" if prompted else "")
        + ("" if prompted else "--click X,Y or --box chooses one")
    )


def _holes(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], seen: Sequence[_Seen], times: np.ndarray
) -> str | None:
    """Spots that are clear in one frame, and not in those before and after it, at rest or moved along.

    A ring's hole is covered by the ring itself, where that goes by as much as its width.
    """
    step = max(1, max(frames[0].shape[:2]) // 256)
    small = (f[::step, ::step, 3] > 127 for f in frames)
    holed = []
    before, here = next(small), next(small, None)
    for i, after in enumerate(small, start=1):
        assert here is not None
        hole = before & after & filled(here) & ~here
        for mask, k in ((before, i - 1), (after, i + 1)) if hole.any() else ():
            way = (seen[i].center - seen[k].center) / step
            hole &= shifted(mask, way) if np.isfinite(way).all() else False
        if hole.any() and ndimage.binary_opening(hole, np.ones((3, 3), bool)).sum() > 0.01 * here.sum():
            holed.append(i)
        before, here = here, after
    if not holed:
        return None
    return f"holes in the mask come and go {_at(times, holed)}: the object looks like the background there"


def _half_clear_alpha(alpha: UInt8[np.ndarray, "h w"], area: int) -> int | None:
    """The median alpha of areas of one alpha between clear and opaque; along a soft edge it rises."""
    if not alpha.any():
        return None
    part = alpha[around(alpha > 0, 3)]
    low, high = ndimage.minimum_filter(part, 5), ndimage.maximum_filter(part, 5)
    half = (low > 24) & (high < 230) & (high - low < 32)
    return int(np.median(part[half])) if half.sum() > 0.01 * area else None


def _half_clear(seen: Sequence[_Seen], times: np.ndarray) -> str | None:
    found = {i: s.half_clear for i, s in enumerate(seen) if s.half_clear is not None}
    if not found:
        return None
    alpha = round(float(np.median(list(found.values()))))
    return (
        f"the object is half clear in places {_at(times, list(found))} (alpha of about {alpha} of 255): what "
        "is below 128 is taken for clear; give alpha or --masks that are white there, unless it is glass"
    )


def sharpness(frame: UInt8[np.ndarray, "h w 4"]) -> float:
    """Finest over middle-sized detail inside the mask: falls with blur, not with the object's size."""
    solid = frame[..., 3] > 250
    if not solid.any():
        return float("nan")
    box = around(solid, FARTHEST)
    inner = ndimage.binary_erosion(solid[box], iterations=3)
    if inner.sum() < 64:
        return float("nan")
    grey = frame[..., :3][box].astype(np.float32).mean(-1)
    finest, middling, coarse = (ndimage.gaussian_filter(grey, s) for s in SCALES)
    fine, middle = finest - middling, middling - coarse
    return float(np.abs(fine[inner]).mean() / (np.abs(middle[inner]).mean() + 0.25))


def _soft_frames(seen: Sequence[_Seen], times: np.ndarray) -> str | None:
    values = np.array([s.sharpness for s in seen])
    if len(values) < 3 or not np.isfinite(values).any():
        return None
    soft = np.nonzero(values < 0.7 * np.nanmedian(values))[0]
    if len(soft) == 0:
        return None
    return f"soft frames {_at(times, soft.tolist())}: motion blur or wrong focus, they will look smeared"


def _camera_moves(originals: Sequence[np.ndarray], frames: Sequence[np.ndarray]) -> str | None:
    """Compares what lies outside all masks with the first frame; a plain background shows nothing."""
    if len(originals) < 2:
        return None
    union = np.any([_small_mask(f[..., 3] > 127) for f in frames], 0)
    outside = ~ndimage.binary_dilation(union, iterations=2)
    if outside.mean() < 0.05:
        return None
    greys = (thumbnail(f)[..., :3].mean(-1) for f in originals)
    first = next(greys)
    texture = float(ndimage.gaussian_gradient_magnitude(first, 0.7)[outside].mean())
    if texture < 1.5:
        return None
    change = max(
        float(np.median(np.abs(g - first - np.median((g - first)[outside]))[outside])) for g in greys
    )
    if change < 0.4 * texture:
        return None
    return "the background moves or changes: the camera seems to move, the method expects a still one"


def _small_mask(mask: Bool[np.ndarray, "h w"], side: int = THUMBNAIL) -> Bool[np.ndarray, "h2 w2"]:
    """Where a `thumbnail` of a mask shows some of it."""
    h, w = mask.shape
    scale = min(1.0, side / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    small = Image.fromarray(mask * np.uint8(255)).resize(size, Image.Resampling.BOX)
    return np.asarray(small) > 2


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
    beside = min(difference(0, 1), difference(count - 2, count - 1))  # there and back, fast at the seam
    return count if closing <= 1.25 * max(typical, beside) else None
