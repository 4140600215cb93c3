"""What an asset.safetensors says of itself, typed; in the file everything is text."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vid4d.files.records import LONGEST, Seconds, checked


class AssetMetadata(Struct, frozen=True, kw_only=True):
    """Metadata of an asset; docs/run_folder.md describes the file.

    seconds: duration of the clip. fps: of the moments that it was fitted to. cyclic: it is a loop.
    elevation: degrees that the clip's camera looked down; None where there was no clip, or nobody knows.
    count: splats. sh_degree, fourier_terms: of their colors. The others are the same in all assets.
    """

    seconds: Seconds = 1.0
    fps: Annotated[float, Meta(gt=0, le=LONGEST)] | None = None
    cyclic: bool = False
    elevation: Annotated[float, Meta(ge=-90, le=90)] | None = None
    count: Annotated[int, Meta(ge=0)] | None = None
    sh_degree: int = 0
    fourier_terms: int = 1
    units: str = "object in [-0.5, 0.5]^3"
    up_axis: str = "z"
    front_axis: str = "+x"
    color_space: str = "sRGB"
    time: str = "0..1 over the clip"


CONSTANTS = ("units", "up_axis", "front_axis", "color_space", "time")
"""Metadata that are the same in all assets that are written."""


def read_metadata(texts: dict[str, str], where: str) -> AssetMetadata:
    """Metadata of a file. where: its name. Raises InputError, with the name, for what cannot be true."""
    return checked(texts, AssetMetadata, f"{where}: metadata", "write it again", strict=False)
