"""Masks that cannot be used are refused; frames are resampled in their windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from vid4d.errors import InputError
from vid4d.media.images import as_floats, premultiplied, straight


def check_masks(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], times: np.ndarray, name: str, method: str, way_out: str
) -> None:
    """Raises InputError where the mask of a key frame is empty, fills the picture, or is inverted.

    method: where the masks came from. way_out: the part of the clip that can be used, if there is one.
    """
    for frame, time in zip(frames, times, strict=True):
        mask = frame[..., 3] > 127
        where = f"{name}: the mask of the frame at {time:.2f} s"
        if mask.sum() < 4:
            most = int(frame[..., 3].max())
            why = f"is empty (alpha at most {most} of 255), no object can be seen there"
            if method == "plain":
                why = "is empty, nothing differs from the background there"
            raise InputError(f"{where} {why}; {way_out or 'give frames that show it, or another --matting'}")
        if mask.mean() > 0.98 and method == "alpha" and not way_out and not _all_opaque(frames):
            raise InputError(
                f"{where} fills the whole picture, and those of others do not: give every frame alpha, or "
                "take the masks from the colors with --matting plain"
            )
        if mask.mean() > 0.98:
            raise InputError(
                f"{where} fills the whole picture; "
                + (
                    way_out
                    or "give frames that show the object with some room around it, or another --matting"
                )
            )
    if method == "alpha" and all(_inverted(f[..., 3] > 127) for f in frames):
        raise InputError(
            f"{name}: the alpha covers the border of the picture all around and is clear inside, so it is "
            "inverted; invert it, or take the mask from the colors with --matting plain"
        )


def _all_opaque(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    return all((f[..., 3] > 127).mean() > 0.98 for f in frames)


def _inverted(mask: Bool[np.ndarray, "h w"]) -> bool:
    """True where a mask shows all of the border, and not what lies inside."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(border.mean() > 0.98 and mask.mean() < 0.98)


def crop(
    frame: UInt8[np.ndarray, "h w 4"], window: tuple[float, float, float], size: int
) -> Float[np.ndarray, "s s 4"]:
    """Resamples a square window to `size` pixels, colors weighted by alpha so that no fringe appears.

    window: left, top, side in pixels of the frame; beyond the frame lies nothing. Straight alpha in [0, 1].
    """
    left, top, side = window
    h, w = frame.shape[:2]
    margin = int(np.ceil(max(0, -left, -top, left + side - w, top + side - h))) + 2
    x0, y0 = int(np.floor(left)) - 2, int(np.floor(top)) - 2
    x1, y1 = int(np.ceil(left + side)) + 2, int(np.ceil(top + side)) + 2
    padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)))
    part = as_floats(padded[y0 + margin : y1 + margin, x0 + margin : x1 + margin])
    part = premultiplied(part)
    box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    kind = Image.Resampling.HAMMING if side > size else Image.Resampling.BICUBIC
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(part[..., c]), "F").resize((size, size), kind, box=box)
        )
        for c in range(4)
    ]
    resampled = np.stack(planes, -1)
    return straight(np.where(resampled[..., 3:] > 1 / 512, resampled, 0)).clip(0, 1)
