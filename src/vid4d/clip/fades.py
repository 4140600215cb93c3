"""Fades in and out where the border does not tell: over a background of about the color that is faded to.

A picture that fades is to one share itself and for the rest one color. So are then the quantiles of the
object's colors, wherever it moves meanwhile, and the share grows from the clip's end inwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.takes import Takes, any_clear, span

FEWEST = 8
"""Frames that show the object, of which something is said."""
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of each color channel."""
FAINT, WHOLE = 0.6, 0.93
"""Share of the clip's own picture: at most, in the outermost frame that shows the object; where fades end."""
BACKWARDS = 0.03
"""What the share may lose from one frame to the next inwards."""
UNLIKE = 0.1
"""How far quantiles may be from those of a faded picture, over what all of a fade changes."""
CHANGE = 20.0
"""Root mean square of that change, 8-bit steps, at least: what hardly differs from the color has no share."""
LONGEST = 0.6
"""Share of the frames that fade at one end, at most."""


def without_fades(
    takes: Takes,
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    cut: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
) -> Takes:
    """Takes whose frames at the ends that fade, and were good, are not.

    pictures: as they came; of those with transparency nothing is said. cut: the same without background.
    """
    seen = [i for i in range(len(pictures)) if takes.good[i] and i not in takes.brief]
    if len(seen) < FEWEST or any_clear(pictures):
        return takes
    levels = {i: _levels(pictures[i], cut[i]) for i in seen}
    faded: list[int] = []
    for order in (seen, seen[::-1]):
        color = np.repeat(np.median(pictures[order[0]][..., :3], (0, 1)), len(LEVELS))
        inner = order[len(order) // 2 : max(len(order) // 2 + 1, 3 * len(order) // 4)]
        change = np.median([levels[i] for i in inner], 0) - color
        if np.sqrt(np.mean(change**2)) < CHANGE:
            continue
        shown = np.array([levels[i] for i in order[: int(LONGEST * len(order))]]) - color
        faded += order[: _fading(shown, change)]
    return takes.without(faded, f"the picture fades {span(times, faded)}") if faded else takes


def _levels(picture: UInt8[np.ndarray, "h w 4"], cut: UInt8[np.ndarray, "h w 4"]) -> Float[np.ndarray, " q"]:
    """Quantiles of the object's colors, channel by channel."""
    step = max(1, max(cut.shape[:2]) // 256)
    mask = cut[::step, ::step, 3] > 127
    if not mask.any():
        step, mask = 1, cut[..., 3] > 127
    return np.quantile(picture[::step, ::step, :3][mask].astype(np.float32), LEVELS, axis=0).T.ravel()


def _fading(shown: Float[np.ndarray, "n q"], change: Float[np.ndarray, " q"]) -> int:
    """How many frames fade, from the end of the clip inwards. shown: quantiles, less the fade's color."""
    square = float(change @ change)
    shares = shown @ change / square
    unlike = np.linalg.norm(shown - shares[:, None] * change, axis=1) / np.sqrt(square)
    whole = np.nonzero(shares >= WHOLE)[0]
    if not len(shares) or shares[0] > FAINT or not len(whole):
        return 0
    count = int(whole[0])
    grows = np.diff(shares[: count + 1]).min() >= -BACKWARDS
    return count if grows and unlike[:count].max() <= UNLIKE else 0
