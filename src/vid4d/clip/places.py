"""Where things lie in the source's picture, and what stands still there, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

JOINED = 0.02
"""Half the gap over the longer side of the picture, at most, between parts of one thing, as letters are."""
SMALL = 0.15
"""Height over the picture's, at most, of text."""
WHOLE_SIDE = 0.9
"""Share of a side of the picture that a bar covers, and of its own box."""
MOST = 3
"""Things that are named one by one."""


@dataclass(frozen=True)
class Places:
    """Places of pictures that were made smaller and cut, as places in the source.

    size: of the source, width and height. shrunk: how many times smaller a picture is. corner: x and y of its
    upper left corner, in pixels of that size.
    """

    size: tuple[int, int]
    shrunk: float = 1.0
    corner: tuple[float, float] = (0, 0)

    def of_box(self, box: tuple[slice, slice], step: int = 1) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in the source. box: rows and columns of blocks of `step` pixels."""
        rows, columns = box
        ends = (columns.start, 0), (rows.start, 1), (columns.stop, 0), (rows.stop, 1)
        left, top, right, bottom = (
            min(round(self.shrunk * (n * step + self.corner[axis])), self.size[axis]) for n, axis in ends
        )
        return left, top, right, bottom


def still_note(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    times: Float[np.ndarray, " t"],
    step: int,
    places: Places,
    what: str = "what stands still",
) -> str:
    """What stood still, or else, and is left out, each thing by its kind, place and time.

    masks: of all frames, in blocks of `step` pixels; something is in one of them. times: seconds.
    """
    seen = np.any(list(masks), 0)
    reach = max(1, round(JOINED * max(seen.shape)))
    labels, count = ndimage.label(ndimage.binary_dilation(seen, iterations=reach))
    labels *= seen
    when = np.array([np.bincount(labels[m], minlength=count + 1) > 0 for m in masks])
    size = "of {} x {}, ".format(*places.size)
    said = []
    for k in (1 + np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")).tolist()[:MOST]:
        part = labels == k
        box = ndimage.find_objects(part.astype(np.uint8))[0]
        left, top, right, bottom = places.of_box(box, step)
        first, last = times[np.nonzero(when[:, k])[0][[0, -1]]]
        moment = f"at {first:.2f} s" if first == last else f"from {first:.2f} to {last:.2f} s"
        said.append(f"{_kind(part, box)}, {left},{top} to {right},{bottom} {size}{moment}")
        size = ""
    more = count - len(said)
    if more:
        said.append("one more thing" if more == 1 else f"{more} more things")
    return f"{what} is left out: {'; '.join(said)}; --keep keeps it"


def _kind(part: Bool[np.ndarray, "h w"], box: tuple[slice, slice]) -> str:
    """What a thing may be, and where: no more than its outline says."""
    edges = {"top": part[0], "bottom": part[-1], "left": part[:, 0], "right": part[:, -1]}
    sides = [name for name, edge in edges.items() if edge.mean() > WHOLE_SIDE]
    if len(sides) > 1 or (sides and part[box].mean() > WHOLE_SIDE):
        return f"a bar along the {' and the '.join(sides)}"
    h, w = part.shape
    rows, columns = box
    across = ("left", "", "right")[int(1.5 * (columns.start + columns.stop) / w)]
    down = ("upper", "", "lower")[int(1.5 * (rows.start + rows.stop) / h)]
    if not across:
        down = {"upper": "top", "lower": "bottom", "": "middle"}[down]
    where = ("in the " if down == "middle" else "at the ") + f"{down} {across}".strip()
    small = rows.stop - rows.start <= SMALL * h
    return f"{'text or another small thing' if small else 'something'} {where}"
