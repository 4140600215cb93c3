"""vid4d: an ordinary video of one moving object becomes a 4D asset.

    import vid4d

    asset = vid4d.generate("my_clip.mp4")
    images = asset.render(vid4d.Cameras.orbit([0, 90, 180, 270], 20), time=0.5)

The names below are imported when they are first used: importing vid4d costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vid4d.api import generate
    from vid4d.asset import Asset, load
    from vid4d.cameras import Cameras
    from vid4d.errors import InputError
    from vid4d.matrix.matrix import ImageMatrix
    from vid4d.settings import Settings

__all__ = ["Asset", "Cameras", "ImageMatrix", "InputError", "Settings", "generate", "load"]

_HOME = {
    "Asset": "vid4d.asset",
    "generate": "vid4d.api",
    "load": "vid4d.asset",
    "Cameras": "vid4d.cameras",
    "ImageMatrix": "vid4d.matrix.matrix",
    "InputError": "vid4d.errors",
    "Settings": "vid4d.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vid4d' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
