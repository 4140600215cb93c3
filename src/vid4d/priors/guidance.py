"""Guidance: which evaluations of a conditional diffusion network are summed, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One evaluation of the UNet that guidance needs, and its weight in the sum.

    clip, image: factors of the embedding and of the input latents. volume: whether the volume is seen.
    """

    weight: float
    clip: float = 1.0
    image: float = 1.0
    volume: bool = True


@dataclass(frozen=True)
class ClassifierFree:
    """e_uncond + scale (e - e_uncond), where e_uncond sees neither embedding, image nor volume."""

    scale: float = 2.0

    def variants(self) -> tuple[Variant, ...]:
        if self.scale == 1:
            return (Variant(1.0),)
        return Variant(self.scale), Variant(1 - self.scale, clip=0, image=0, volume=False)


@dataclass(frozen=True)
class Decomposed:
    """e + image (e - e_image) + volume (e - e_volume) (2401.08742, section 3.2).

    e_image sees only the volume; e_volume sees embedding and image, the latter four times as strong.
    """

    image: float = 2.0
    volume: float = 1.0

    def variants(self) -> tuple[Variant, ...]:
        without_image = Variant(-self.image, clip=0, image=0)
        without_volume = Variant(-self.volume, image=4, volume=False)
        others = tuple(v for v in (without_image, without_volume) if v.weight != 0)
        return Variant(1 + self.image + self.volume), *others


Guidance = ClassifierFree | Decomposed
PLAIN = ClassifierFree(1.0)
"""No guidance."""

DECOMPOSED = Decomposed()
"""The guidance of Efficient4D."""
