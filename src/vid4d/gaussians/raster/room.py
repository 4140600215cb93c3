"""Room for tile entries that is set aside beforehand, so that no call asks the device how many there are.

A rasteriser that sorts splats into tiles on a device learns the number of entries there, and the host must
know it to set memory aside: a wait in every call, and no call can be recorded. With an `EntryRoom` the first
call waits, later ones take the same room. Where it is too small a call draws nothing, all gradients are zero,
and `complete` is false on the device until `enough_for` makes more: whoever renders so has to look there
before anything is final.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

SPARE = 1.5
"""Room for the first call's entries, over their number."""


@dataclass(frozen=True)
class Wanted:
    """How many entries calls wanted at most, on its way from the device."""

    count: Int[Tensor, ""]
    arrival: torch.cuda.Event | None

    def here(self) -> bool:
        """Whether `read` need not wait."""
        return self.arrival is None or self.arrival.query()

    def read(self) -> int:
        """The number; waits for it."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return int(self.count)


class EntryRoom:
    """Room for the tile entries of each of some calls of `rasterize_4d` on one device.

    size: in entries; None before the first call and after `forget`.
    """

    def __init__(self) -> None:
        self.size: int | None = None
        self._wanted: Int[Tensor, ""] | None = None

    def take(self, count: Int[Tensor, ""]) -> tuple[int, Bool[Tensor, ""]]:
        """For a rasteriser: room for a call that wants `count` entries; and whether they fit, on the device.

        The first call waits for the device.
        """
        if self.size is None:
            self.size = max(1, int(SPARE * int(count)))
        if self._wanted is None:
            self._wanted = torch.zeros_like(count)
        torch.maximum(self._wanted, count, out=self._wanted)
        return self.size, count <= self.size

    def complete(self) -> Bool[Tensor, ""] | None:
        """Whether every call so far had room, on the device; None where no rasteriser asked for any."""
        return None if self._wanted is None or self.size is None else self._wanted <= self.size

    def ask(self) -> Wanted:
        """Sends for the number of entries that were wanted at most by now; nobody waits."""
        if self._wanted is None:
            raise RuntimeError("no rasteriser has asked for room")
        count = self._wanted.to("cpu", non_blocking=True, copy=True)
        arrival = None
        if self._wanted.is_cuda:
            arrival = torch.cuda.Event()
            arrival.record(torch.cuda.current_stream(self._wanted.device))
        return Wanted(count, arrival)

    def enough_for(self, wanted: int) -> bool:
        """Whether so many entries fit. If not, doubles the room until they do, and `complete` begins anew."""
        if self.size is None or self._wanted is None:
            raise RuntimeError("no rasteriser has asked for room")
        if wanted <= self.size:
            return True
        while self.size < wanted:
            self.size *= 2
        self._wanted.zero_()
        return False

    def forget(self) -> None:
        """The next call is as the first: where splats were added and removed."""
        self.size, self._wanted = None, None
