"""Which published weights there are, and where they lie on this machine. docs/weights.md says where each fact
comes from.

Checksums are those that the authors publish; where they publish none, the checksum of the first download is
recorded in the weights folder, and everything later is held against it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vid4d.errors import InputError
from vid4d.files import write_json

Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True)
class Weights:
    """A file that somebody publishes, and what becomes of it here.

    what: for. kind: the converter's name of the network. licence, terms: the authors', and what comes with
    it. commercial: whether commercial use is allowed, as far as the licence says so. page: where the authors
    tell of it. file: its name. url: where it can be downloaded without a person; None where it cannot be.
    size, installed: bytes of the download and of the converted file, roughly. sha256: where one is
    published. ema: take the averaged copy of the network, as the authors' own programs do.
    """

    what: str
    kind: str
    licence: str
    commercial: Literal["yes", "no", "unclear"]
    terms: str
    page: str
    file: str
    url: str | None
    size: int
    installed: int
    sha256: str | None = None
    ema: bool = False


_STABLE_DIFFUSION = "MIT (repository); CreativeML OpenRAIL-M (the model it was trained on from)"
_OPENRAIL = (
    "trained on from Stable Diffusion, whose CreativeML OpenRAIL-M restricts some uses and passes "
    "its restrictions on"
)
_ZERO123_XL = Weights(
    what="one view of an object from another; --prior zero123-xl, the judge of consistent4d",
    kind="zero123",
    licence=_STABLE_DIFFUSION,
    commercial="unclear",
    terms=_OPENRAIL,
    page="https://github.com/cvlab-columbia/zero123",
    file="zero123-xl.ckpt",
    url="https://zero123.cs.columbia.edu/assets/zero123-xl.ckpt",
    size=15_460_000_000,
    installed=5_140_000_000,
    ema=True,
)
_RIFE_3 = Weights(
    what="frames between frames, in the middle only (RIFE 3.x)",
    kind="rife3",
    licence="MIT (repository)",
    commercial="yes",
    terms="nothing else is said of the weights",
    page="https://github.com/hzwer/ECCV2022-RIFE",
    file="flownet.pkl",
    url=None,
    size=12_200_000,
    installed=12_200_000,
)

WEIGHTS = {
    "syncdreamer": Weights(
        what="16 views of an object at once; --prior syncdreamer",
        kind="syncdreamer",
        licence=_STABLE_DIFFUSION,
        commercial="unclear",
        terms=_OPENRAIL,
        page="https://github.com/liuyuan-pal/SyncDreamer",
        file="syncdreamer-pretrain.ckpt",
        url=None,
        size=5_570_000_000,
        installed=5_570_000_000,
    ),
    "zero123-xl": _ZERO123_XL,
    "zero123": replace(
        _ZERO123_XL,
        what="the first Zero123 (105000 steps), as zero123-xl",
        file="105000.ckpt",
        url="https://huggingface.co/cvlab/zero123-weights/resolve/main/105000.ckpt",
    ),
    "rife-3": _RIFE_3,
    "rife-4": replace(
        _RIFE_3,
        what="frames between frames, at any time (RIFE 4.x)",
        kind="rife4",
        licence="MIT (repository and weights)",
        terms="the README says so of the files it links to",
        page="https://github.com/hzwer/Practical-RIFE",
        size=21_200_000,
        installed=21_200_000,
    ),
}
"""Name -> what is known of it."""


def gigabytes(size: float) -> str:
    """5_570_000_000 -> '5.6 GB', 21_200_000 -> '21 MB'."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def known(name: str) -> Weights:
    """The entry of that name. Raises InputError where there is none."""
    if name not in WEIGHTS:
        raise InputError(f"there are no weights {name!r}: choose one of {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def folder() -> Path:
    """Where converted weights lie: $VID4D_WEIGHTS, else in the user's folder for caches. Not made here."""
    if told := os.environ.get("VID4D_WEIGHTS"):
        return Path(told).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vid4d" / "weights"


def path_of(name: str) -> Path:
    """Where the converted file of these weights lies, or would lie."""
    return folder() / f"{name}.safetensors"


def how_to_get(name: str) -> str:
    """What a person has to do to have these weights."""
    entry = known(name)
    if entry.url is not None:
        return f"fetch them with: vid4d weights fetch {name} (a download of {gigabytes(entry.size)})"
    return (
        f"get {entry.file} ({gigabytes(entry.size)}) by hand, {entry.page} says where, then: "
        f"vid4d weights convert {entry.file} --name {name} (or vid4d weights fetch {name} --url ADDRESS)"
    )


def require(name: str) -> Path:
    """The converted file of these weights. Raises InputError, which says how to get them, without one."""
    path = path_of(name)
    if not path.is_file():
        raise InputError(f"the weights of {name} are not on this machine: {how_to_get(name)}")
    return path


def named_after(file: Path, kind: str) -> str:
    """The name under which a published file is kept, from its own name and its kind.

    Raises InputError where several names fit.
    """
    fitting = [name for name, entry in WEIGHTS.items() if entry.kind == kind]
    exact = [name for name in fitting if WEIGHTS[name].file == file.name or name == file.stem]
    chosen = exact or fitting
    if len(chosen) != 1:
        told = " or ".join(f"--name {n}" for n in chosen) or "a file with --out"
        raise InputError(f"{file} holds a network of the kind {kind}: say what to call it, {told}")
    return chosen[0]


# Checksums


def sha256_of(path: Path, report: Report | None = None) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with open(path, "rb") as file:
        while part := file.read(1 << 22):
            digest.update(part)
            done += len(part)
            if report is not None:
                report(done, size)
    return digest.hexdigest()


def records() -> dict[str, dict[str, Any]]:
    """Name -> what was recorded of it: `source` and `converted`, SHA-256 each, where there is one."""
    path = folder() / "checksums.json"
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} cannot be read ({error}): remove it, and verify again") from None
    return told if isinstance(told, dict) else {}


def record(name: str, **checksums: str) -> None:
    """Adds to what is recorded of these weights."""
    told = records()
    told[name] = told.get(name, {}) | checksums
    write_json(folder() / "checksums.json", told)


def expected_source(name: str) -> str | None:
    """The checksum that a download must have: the published one, else the recorded one, else None."""
    return known(name).sha256 or records().get(name, {}).get("source")


def verify(name: str, report: Report | None = None) -> str:
    """Holds the converted file against its recorded checksum; says how it went, in a few words.

    A file of which nothing is recorded is recorded now. Raises InputError where it differs or is missing.
    """
    path = require(name)
    found = sha256_of(path, report)
    expected = records().get(name, {}).get("converted")
    if expected is None:
        record(name, converted=found)
        return "recorded now, nothing to compare with"
    if found != expected:
        raise InputError(
            f"{path} is not what was converted (SHA-256 {found[:12]}..., expected {expected[:12]}...): "
            f"remove it and {how_to_get(name)}"
        )
    return "as it was converted"
