"""Registry of published weights, and their places on this machine. docs/weights.md says where each fact comes
from.

Checksums are those that the authors publish; where they publish none, the checksum of the first download is
recorded in the weights folder, and everything later is held against it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vid4d.errors import InputError
from vid4d.files.paths import user_cache
from vid4d.files.records import read_record
from vid4d.files.write import write_json
from vid4d.priors.base import PRIORS, WeightSpec, named_object

if TYPE_CHECKING:
    from vid4d.priors.weights.network import Network

Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


INTERPOLATORS = {
    "rife-3": WeightSpec(
        what="frames between frames, in the middle only (RIFE 3.x)",
        network="vid4d.priors.rife_versions:NETWORK_3",
        licence="MIT (repository)",
        commercial="yes",
        terms="nothing else is said of the weights",
        page="https://github.com/hzwer/ECCV2022-RIFE",
        file="flownet.pkl",
        url=None,
        size=12_200_000,
        installed=12_200_000,
    ),
    "rife-4": WeightSpec(
        what="frames between frames, at any time (RIFE 4.x)",
        network="vid4d.priors.rife_versions:NETWORK_4",
        licence="MIT (repository and weights)",
        commercial="yes",
        terms="the README says so of the files it links to",
        page="https://github.com/hzwer/Practical-RIFE",
        file="flownet.pkl",
        url=None,
        size=21_200_000,
        installed=21_200_000,
    ),
}
"""Name -> what is known of the weights of a frame interpolator."""

WEIGHTS = {name: spec.weights for name, spec in PRIORS.items() if spec.weights is not None} | INTERPOLATORS
"""Name -> what is known of all that can be fetched and converted."""


def gigabytes(size: float) -> str:
    """5_570_000_000 -> '5.6 GB', 21_200_000 -> '21 MB'."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def weight_spec(name: str) -> WeightSpec:
    """The entry of that name. Raises InputError where there is none."""
    if name not in WEIGHTS:
        raise InputError(f"there are no weights {name!r}: choose one of {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def network_of(name: str) -> Network:
    """The network that these weights are of."""
    return named_object(weight_spec(name).network)


def networks() -> tuple[Network, ...]:
    """All networks that published weights are of."""
    return tuple(named_object(entry) for entry in dict.fromkeys(spec.network for spec in WEIGHTS.values()))


def folder() -> Path:
    """Folder of converted weights: $VID4D_WEIGHTS, else in the user's folder for caches. Not made here."""
    if setting := os.environ.get("VID4D_WEIGHTS"):
        return Path(setting).expanduser()
    return user_cache() / "weights"


def path_of(name: str) -> Path:
    """Path of the converted file of these weights, which need not exist."""
    return folder() / f"{name}.safetensors"


def how_to_get(name: str) -> str:
    """Instructions for people to get these weights."""
    entry = weight_spec(name)
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
    fitting = [name for name in WEIGHTS if network_of(name).kind == kind]
    exact = [name for name in fitting if WEIGHTS[name].file == file.name or name == file.stem]
    chosen = exact or fitting
    if len(chosen) != 1:
        choices = " or ".join(f"--name {n}" for n in chosen) or "a file with --out"
        raise InputError(f"{file} holds a network of the kind {kind}: say what to call it, {choices}")
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


def records() -> dict[str, dict[str, str]]:
    """Checksums by name of the weights: SHA-256 of `source` and `converted`, where there is one."""
    path = folder() / "checksums.json"
    if not path.is_file():
        return {}
    return read_record(path, dict[str, dict[str, str]], "remove it, and verify again")


def record(name: str, **checksums: str) -> None:
    """Adds checksums (SHA-256) to the record of these weights."""
    recorded = records()
    recorded[name] = recorded.get(name, {}) | checksums
    write_json(folder() / "checksums.json", recorded)


def expected_source(name: str) -> str | None:
    """The checksum that a download must have: the published one, else the recorded one, else None."""
    return weight_spec(name).sha256 or records().get(name, {}).get("source")


def verify(name: str, report: Report | None = None) -> str:
    """Holds the converted file against its recorded checksum; says how it went, in a few words.

    A file of which nothing is recorded is recorded now. Raises InputError where it differs or is missing.
    """
    path = require(name)
    actual = sha256_of(path, report)
    expected = records().get(name, {}).get("converted")
    if expected is None:
        record(name, converted=actual)
        return "recorded now, nothing to compare with"
    if actual != expected:
        raise InputError(
            f"{path} is not what was converted (SHA-256 {actual[:12]}..., expected {expected[:12]}...): "
            f"remove it and {how_to_get(name)}"
        )
    return "as it was converted"
