"""Colors of other spaces as sRGB: transfer functions, primaries, and what is brighter than white.

Videos of standard range (BT.709, BT.601, BT.2020, gamma 2.2 and 2.8) are made to look right on the screen on
which they were graded, and players show their numbers on an sRGB screen as they are; so it is done here, too.
What is converted is all that would look wrong: PQ, HLG and linear light; Display P3, DCI-P3 and BT.2020.
Numbers of tags are those of ITU-T H.273.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt16

LINEAR, PQ, HLG = 8, 16, 18
"""Transfers that are converted."""
GRADED = {1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15}
"""Transfers of standard range, shown as they are."""
TRANSFERS = {9: "logarithmic 100:1", 10: "logarithmic 316:1", 17: "SMPTE ST 428-1 (digital cinema)"}
"""Names of transfers that cannot be read."""

REFERENCE_WHITE = 203.0
"""cd/m2 of white in PQ; the same is 75 % of the signal in HLG (BT.2408, section 2.1)."""

BRIGHT = 1.08
"""Light that counts as brighter than white: noise of an encoder at white stays below it."""

STANDARD = {1, 2, 4, 5, 6, 7, 8}
"""Primaries of standard gamut, shown as they are."""
D65 = (0.3127, 0.3290)
CHROMATICITIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),  # BT.709, sRGB
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
}
"""Of red, green, blue and white, as CIE x and y."""


class Coding(NamedTuple):
    """What the numbers of a picture mean: transfer and primaries as in H.273."""

    transfer: int = 1
    primaries: int = 1

    @property
    def is_srgb(self) -> bool:
        """Whether the numbers are shown as they are."""
        return self.transfer in GRADED and self.primaries in STANDARD

    def fault(self) -> str | None:
        """What cannot be read, in words; None where all can."""
        if self.transfer not in GRADED | {LINEAR, PQ, HLG}:
            return f"its transfer is {TRANSFERS.get(self.transfer, f'number {self.transfer}')}"
        if self.primaries not in STANDARD | set(CHROMATICITIES):
            return f"its primaries are number {self.primaries} of H.273"
        return None


LUMA = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020": (0.2627, 0.0593),
}
"""Weights of red and blue in the luma of a YUV matrix (H.273, table 4)."""


def yuv_to_rgb(
    yuv: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"], matrix: str, bits: int, *, full_range: bool
) -> Float[np.ndarray, "h w 3"]:
    """RGB, 0 at black and 1 at white, of numbers of so many bits (H.273, section 8.3)."""
    red, blue = LUMA[matrix]
    green = 1 - red - blue
    if full_range:
        black, white, chroma = 0.0, (1 << bits) - 1.0, (1 << bits) - 1.0
    else:
        black, white, chroma = (v * (1 << bits - 8) for v in (16.0, 219.0, 224.0))
    y = (yuv[..., 0].astype(np.float32) - black) / white
    u, v = ((yuv[..., i].astype(np.float32) - (1 << bits - 1)) / chroma for i in (1, 2))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.stack([r, (y - red * r - blue * b) / green, b], -1)


def srgb_to_linear(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Linear light of sRGB numbers in [0, 1] (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """sRGB numbers of linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(
        values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055
    )


def pq_to_linear(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Light of PQ numbers in [0, 1], 1 at `REFERENCE_WHITE` (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = np.maximum(values, 0) ** (1 / m2)
    return 10000 / REFERENCE_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_to_linear(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Light of the scene of HLG numbers in [0, 1], 1 at 75 % of the signal (BT.2100, table 5).

    The look that a bright HLG screen adds (its system gamma) is left out: a screen as bright as one for sRGB
    adds none.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073

    def light(signal: np.ndarray) -> np.ndarray:
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)

    return light(np.asarray(values)) / light(np.asarray(0.75))


def to_srgb_matrix(primaries: int) -> Float[np.ndarray, "3 3"]:
    """Linear RGB of these primaries to linear RGB of BT.709, by their chromaticities (SMPTE RP 177).

    White goes to white: DCI-P3's own is adapted in XYZ by the Bradford transform.
    """
    if primaries in STANDARD:
        return np.eye(3)
    white = _xyz(CHROMATICITIES[primaries][3])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ _xyz(D65)) / (bradford @ white)
    adapted = np.linalg.inv(bradford) @ np.diag(gains) @ bradford
    return np.linalg.inv(_rgb_to_xyz(1)) @ adapted @ _rgb_to_xyz(primaries)


def _xyz(chromaticity: tuple[float, float]) -> Float[np.ndarray, "3"]:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _rgb_to_xyz(primaries: int) -> Float[np.ndarray, "3 3"]:
    *colors, white = CHROMATICITIES[primaries]
    columns = np.stack([_xyz(c) for c in colors], 1)
    return columns * np.linalg.solve(columns, _xyz(white))


@lru_cache(maxsize=4)
def _light(transfer: int) -> Float[np.ndarray, "65536"]:
    """Linear light of each 16-bit number."""
    values = np.arange(65536) / 65535
    reader = {PQ: pq_to_linear, HLG: hlg_to_linear, LINEAR: lambda v: v}.get(transfer, srgb_to_linear)
    return reader(values).astype(np.float32)


@lru_cache(maxsize=1)
def _codes() -> UInt8[np.ndarray, "65536"]:
    """8-bit sRGB of linear light in 16 bits."""
    return np.rint(linear_to_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)


def to_srgb(rgb: UInt16[np.ndarray, "h w 3"], coding: Coding) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """8-bit sRGB of 16-bit RGB, and the share of pixels that are brighter than white.

    Up to white, light is kept as it is. What is brighter keeps its hue and goes to white the more, the
    brighter it is. Colors that sRGB cannot show are clipped.
    """
    light = _light(coding.transfer)[rgb] @ to_srgb_matrix(coding.primaries).T.astype(np.float32)
    peak = light.max(-1, keepdims=True)
    bright = peak[..., 0] > 1
    share = float((peak[..., 0] > BRIGHT).mean())
    if bright.any():
        most = peak[bright]
        light[bright] = light[bright] / most + (1 - light[bright] / most) * (1 - 1 / most)
    return _codes()[(np.clip(light, 0, 1) * 65535 + 0.5).astype(np.uint16)], share
