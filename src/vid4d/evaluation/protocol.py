"""Protocols: everything that decides a number, said in words that can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from vid4d.errors import InputError
from vid4d.evaluation.distances import POINTS
from vid4d.metrics.surfaces import NEAR_ENOUGH

Range = Literal["1", "pair"]


@dataclass(frozen=True)
class Protocol:
    """How numbers come about; written into every result, and results of different ones are not compared.

    size: width in pixels; 0 for the truth's own. resize: how pictures of another size come to it (`at_size`).
    data_range: of PSNR and SSIM: 1 in all of them, or what the pictures of a pair happen to span.
    fvd: Frechet distance of I3D's logits, of all views of an object against the truth's; or of each view's
    video against the one that is its truth (`one_video_distance`).
    elevation: degrees of cameras that the truth does not say. first: moments, where not all.
    """

    name: str
    about: str
    size: int = 0
    resize: Literal["area", "bicubic"] = "area"
    background: str = "white"
    bits: int = 8
    data_range: Range = "1"
    fvd: Literal["views", "one by one"] = "views"
    ssim: str = "11x11 Gaussian window, sigma 1.5, windows that lie inside the picture, mean of RGB"
    mask_threshold: float = 0.5
    surface_distance: float = NEAR_ENOUGH
    meshes: str = (
        f"{POINTS} points a surface, distances not squared, both ways added; aligned by one similarity "
        "(iterated closest points), of each moment for CD-3D, of the first for CD-4D and motion"
    )
    elevation: float | None = None
    first: int | None = None
    version: int = 1

    def record(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


PROTOCOLS = {
    "strict": Protocol(
        "strict",
        "every picture over white in 8 bits, at the truth's size; PSNR and SSIM for a range of 1; means over "
        "moments, then views, then objects",
    ),
    "consistent4d": Protocol(
        "consistent4d",
        "the published scripts of Consistent4D (2311.02848): 512 pixels, bicubic; PSNR for the range that "
        "the true picture spans, SSIM for the larger range of the two; means over moments, "
        "then views, then objects",
        size=512,
        resize="bicubic",
        data_range="pair",
        fvd="one by one",
        ssim="11x11 Gaussian window, sigma 1.5, mirrored at the borders, mean of RGB",
    ),
}
"""By name."""


def protocol_of(name: str, *, size: int | None, elevation: float | None, first: int | None) -> Protocol:
    """A protocol with what the user may choose. Raises InputError for what it fixes."""
    chosen = PROTOCOLS[name]
    if size is not None and chosen.size:
        raise InputError(
            f"--size has no effect: the protocol {name} fixes {chosen.size} pixels; leave it out"
        )
    if size is not None and not 16 <= size <= 4096:
        raise InputError(f"a size of {size} pixels cannot be judged: choose 16 to 4096")
    if elevation is not None and not -90 <= elevation <= 90:
        raise InputError(f"an elevation of {elevation:g} degrees does not exist: choose -90 to 90")
    return replace(chosen, size=size or chosen.size, elevation=elevation, first=first)
