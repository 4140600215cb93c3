"""Masks of neighbouring frames that agree: what a network lost or caught in a frame or two is mended.

Networks that see one picture at a time fail on single frames. A frame's mask is compared with those of two
frames before and two after it, carried along the motion between the pictures (block matching on small
copies). Where all but one of them say the opposite, and their pictures show the same thing there, they are
believed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip.matting_onnx import free_colors
from vid4d.clip.spool import Spool
from vid4d.media.images import as_floats, over_white_uint8

SIDE = 96
"""Longer side of the copies on which motion is found."""
SEARCH = 6
"""Pixels of these copies that something may move between two frames that are compared."""
BLOCK = 7
"""Side of the blocks that are matched."""
SAME = 24.0
"""Mean difference of colors, 8-bit steps, at most, of what is the same thing in two pictures."""
FOUND = 0.8
"""Share of the object, at least, that is found again in a neighbour, if its mask is to count."""
LONGEST = 0.25
"""Seconds from a frame to a neighbour that is asked, at most."""
LEAST = 0.01
"""Share of the mask that is mended in a frame, at least: less is the outline."""


def steady_masks(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], str | None]:
    """Frames whose masks agree with those before and after them, and a sentence about what was mended.

    pictures: the frames with their background. times: seconds. The first and the last frame have
    no neighbours on both sides and stay as they are.
    """
    count = len(frames)
    small = [_small(p) for p in pictures]
    coarse = [_small_mask(f[..., 3], s.shape) for f, s in zip(frames, small, strict=True)]
    mended: dict[int, UInt8[np.ndarray, "h w 4"]] = {}
    for k in range(1, count - 1):
        near = [
            i for i in (k - 2, k - 1, k + 1, k + 2) if 0 <= i < count and abs(times[i] - times[k]) <= LONGEST
        ]
        if not near or near[0] > k or near[-1] < k or not _suspicious(coarse[k], [coarse[i] for i in near]):
            continue
        alpha = frames[k][..., 3]
        carried = []
        for i in near:
            mask, same = _carried(frames[i][..., 3], pictures[i], pictures[k], small[i], small[k])
            if same[(alpha > 127) | (mask > 127)].mean() >= FOUND:
                carried.append((mask, same))
        if len(carried) < 2:
            continue
        fixed = _outvoted(alpha, carried)
        changed = ((fixed > 127) != (alpha > 127)).sum()
        if changed < max(8, LEAST * max(int((alpha > 127).sum()), int((fixed > 127).sum()))):
            continue
        picture = over_white_uint8(pictures[k])
        mended[k] = np.dstack([free_colors(picture, as_floats(fixed)), fixed])
    if not mended:
        return frames, None
    result = Spool((mended.get(k, f) for k, f in enumerate(frames)), boxed=True)
    listed = ", ".join(f"{times[k]:.2f}" for k in list(mended)[:5]) + (" ..." if len(mended) > 5 else "")
    return (
        result,
        f"masks that disagreed with those before and after are mended, at {listed} s; --keep keeps them",
    )


def _small_mask(alpha: UInt8[np.ndarray, "h w"], shape: tuple[int, ...]) -> Bool[np.ndarray, "h2 w2"]:
    return np.asarray(Image.fromarray(alpha).resize((shape[1], shape[0]), Image.Resampling.BOX)) > 127


def _suspicious(own: Bool[np.ndarray, "h w"], others: Sequence[Bool[np.ndarray, "h w"]]) -> bool:
    """Whether most of the others lack or have what a small mask does, by more than their outlines move.

    Sees only what is thicker than that motion; says yes too often rather than too seldom.
    """
    eight = np.ones((3, 3), bool)
    have = np.sum([ndimage.binary_erosion(m, eight) for m in others], 0)
    lack = np.sum([~ndimage.binary_dilation(m, eight) for m in others], 0)
    needed = _needed(len(others))
    odd = (have >= needed) & ~own | (lack >= needed) & own
    return bool(odd.sum() >= max(4, LEAST * own.sum()))


def _needed(count: int) -> int:
    """Neighbours that have to agree: all but one, two at least."""
    return 2 if count == 2 else 3


def _outvoted(
    alpha: UInt8[np.ndarray, "h w"], carried: Sequence[tuple[np.ndarray, np.ndarray]]
) -> UInt8[np.ndarray, "h w"]:
    """A mask with what its neighbours say where enough of them are against it.

    carried: their masks, and where they are to be asked.
    """
    solid = np.sum([(a > 127) & same for a, same in carried], 0)
    clear = np.sum([(a <= 127) & same for a, same in carried], 0)
    needed = _needed(len(carried))
    wrong = np.where(alpha > 127, clear, solid) >= needed
    wrong = ndimage.binary_opening(wrong, np.ones((3, 3), bool))  # a shifted outline is no failure
    if not wrong.any():
        return alpha
    near = ndimage.binary_dilation(wrong, iterations=2) & (np.maximum(solid, clear) >= needed)
    middle = np.median(np.stack([a for a, _ in carried]), 0).astype(np.uint8)
    return np.where(near, middle, alpha)


def _small(picture: UInt8[np.ndarray, "h w 4"]) -> Float[np.ndarray, "h2 w2"]:
    h, w = picture.shape[:2]
    scale = min(1.0, SIDE / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    reduced = Image.fromarray(over_white_uint8(picture)).resize(size, Image.Resampling.BOX)
    return np.asarray(reduced, np.float32).mean(-1)


def motion(source: Float[np.ndarray, "h w"], target: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "2 h w"]:
    """Where each pixel of a small grey target lies in the source: y and x to be added to its place.

    Block matching by the sum of absolute differences, the smaller motion where two are as good.
    """
    h, w = target.shape[:2]
    padded = np.pad(source, ((SEARCH, SEARCH), (SEARCH, SEARCH)), mode="edge")
    best = np.full((h, w), np.inf, np.float32)
    found = np.zeros((2, h, w), np.float32)
    places = [(y, x) for y in range(-SEARCH, SEARCH + 1) for x in range(-SEARCH, SEARCH + 1)]
    for dy, dx in sorted(places, key=lambda p: p[0] ** 2 + p[1] ** 2):
        moved = padded[SEARCH + dy : SEARCH + dy + h, SEARCH + dx : SEARCH + dx + w]
        cost = ndimage.uniform_filter(np.abs(moved - target), BLOCK) + 0.02 * np.hypot(dy, dx)
        better = cost < best - 1e-3
        best[better] = cost[better]
        found[0][better], found[1][better] = dy, dx
    return found


def _carried(
    alpha: UInt8[np.ndarray, "h w"],
    picture: UInt8[np.ndarray, "h w 4"],
    target: UInt8[np.ndarray, "h w 4"],
    small: Float[np.ndarray, "h2 w2"],
    small_target: Float[np.ndarray, "h2 w2"],
) -> tuple[np.ndarray, np.ndarray]:
    """A neighbour's mask where its things are in the target picture, and where both show the same."""
    h, w = alpha.shape
    scale = h / small.shape[0], w / small.shape[1]
    flow = [
        np.asarray(Image.fromarray(plane, "F").resize((w, h), Image.Resampling.BILINEAR)) * s
        for plane, s in zip(motion(small, small_target), scale, strict=True)
    ]
    reached = np.hypot(flow[0] / scale[0], flow[1] / scale[1]) < SEARCH - 0.5  # else it went farther
    y, x = np.mgrid[:h, :w]
    y = np.clip(np.rint(y + flow[0]), 0, h - 1).astype(np.intp)
    x = np.clip(np.rint(x + flow[1]), 0, w - 1).astype(np.intp)
    difference = np.abs(picture[y, x, :3].astype(np.int16) - target[..., :3]).mean(-1, dtype=np.float32)
    same = ndimage.uniform_filter(difference, 5) < SAME
    return alpha[y, x], same & reached
