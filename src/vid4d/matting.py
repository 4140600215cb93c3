"""Background removal: a weight-free method for plain backgrounds, ONNX matting models for the rest.

The plain method needs no network: the background is a smooth surface of colour fitted to the border of the
pictures over the whole clip and refined with every pixel that turns out to be background; what differs from
it is the object. Edges get a soft alpha from how far a pixel lies between the two colours.

Pictures are 8-bit RGB or RGBA here, to hold many; distances of colour are Euclidean, in 8-bit steps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.errors import InputError

ADVICE = (
    "give frames with transparency, film before a plain background, or use a matting model: "
    'pip install "vid4d[matting]" and --matting FILE.onnx (BiRefNet, IS-Net or U2-Net)'
)
MIN_INLIERS = 0.6  # share of the border that the fitted surface must explain
MAX_NOISE = 14.0  # 8-bit steps
CORE = 30.0  # certainly not background
REGION = 15.0  # object where connected to certain pixels; ringing of compressed video stays below
BAND = 2.6  # width of the soft edge, pixels


@dataclass(frozen=True)
class Matte:
    """Frames with their backgrounds removed.

    frames: RGBA, straight alpha, colours at soft edges freed from the background's.
    method: 'alpha', 'plain' or the model's name. confidence: 0 (a guess) to 1 (certain).
    """

    frames: list[UInt8[np.ndarray, "h w 4"]]
    method: str
    confidence: float


def matte(frames: Sequence[UInt8[np.ndarray, "h w 4"]], method: str = "auto") -> Matte:
    """Gives every frame its mask.

    method: 'alpha' (as it comes), 'plain', the name or file of an ONNX model, or 'auto': alpha where it says
        something, else plain, else a model that is installed.
    Raises InputError where the method does not fit the frames.
    """
    meaningful = alpha_is_meaningful(frames)
    if method == "alpha" or (method == "auto" and meaningful):
        if not meaningful:
            raise InputError(
                f"the frames have no transparency to take the mask from; leave --matting at auto or {ADVICE}"
            )
        return Matte([f.copy() for f in frames], "alpha", 1.0)
    opaque = [_over_white(f) for f in frames]
    if method == "plain":
        return remove_plain_background(opaque)
    if method != "auto":
        return remove_with_model(opaque, find_model(method))
    try:
        return remove_plain_background(opaque)
    except InputError:
        installed = installed_model()
        if installed is None:
            raise
        return remove_with_model(opaque, installed)


def alpha_is_meaningful(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """True where at least 0.2 % of the pixels are transparent: an opaque alpha channel says nothing."""
    clear = sum(int((f[..., 3] < 128).sum()) for f in frames)
    return clear >= 0.002 * sum(f[..., 3].size for f in frames)


def _over_white(frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = frame[..., 3:].astype(np.float32) / 255
    return np.rint(frame[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


# ---- plain backgrounds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Background:
    """A smooth background. surface: its colour at every pixel. offsets: brightness changes, per frame.

    noise: spread of its pixels, 8-bit steps. inliers: share of the border that it explains.
    """

    surface: Float[np.ndarray, "h w 3"]
    offsets: Float[np.ndarray, "t 3"]
    noise: float
    inliers: float

    @property
    def region(self) -> float:
        return max(REGION, 6.0 * self.noise)

    @property
    def core(self) -> float:
        return max(CORE, 10.0 * self.noise)


def remove_plain_background(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Matte:
    """Removes a background of one colour or of a smooth gradient.

    Raises InputError where the border of the pictures is not plain.
    """
    background = fit_background(frames)
    if background.inliers < MIN_INLIERS or background.noise > MAX_NOISE:
        raise InputError(
            "the background is not plain (a smooth colour explains "
            f"{background.inliers:.0%} of the border): {ADVICE}"
        )
    background = _refine(frames, background)
    results, clear = [], []
    for frame, offset in zip(frames, background.offsets, strict=True):
        surface = background.surface + offset
        rgba, distinct = _cut_out(frame, surface, background)
        results.append(rgba)
        clear.append(distinct)
    plain = np.clip((background.inliers - 0.5) / 0.4, 0, 1) * np.clip(
        1.2 - background.noise / MAX_NOISE, 0, 1
    )
    confidence = float(plain * np.clip(np.mean(clear) / 0.85, 0, 1))
    return Matte(results, "plain", round(confidence, 3))


def _basis(y: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> Float[np.ndarray, "n 6"]:
    u, v = 2 * x / max(shape[1] - 1, 1) - 1, 2 * y / max(shape[0] - 1, 1) - 1
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], -1)


def fit_background(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Background:
    """Fits a quadratic surface per channel to the border of all frames.

    Least absolute deviations (iteratively reweighted), so that an object that touches the border does not
    bend the surface.
    """
    h, w = frames[0].shape[:2]
    width = max(1, min(h, w) // 64)
    border = np.ones((h, w), bool)
    border[width : h - width, width : w - width] = False
    y, x = np.nonzero(border)
    stride = max(1, len(y) * len(frames) // 40_000)
    colours = np.stack([f[y, x] for f in frames]).astype(np.float64)
    offsets = np.median(colours, 1) - np.median(colours, (0, 1))
    design = np.tile(_basis(y, x, (h, w)), (len(frames), 1))[::stride]
    target = (colours - offsets[:, None]).reshape(-1, 3)[::stride]
    start = np.zeros((6, 3))
    start[0] = np.median(target, 0)
    coefficients = start
    for _ in range(25):
        residual = np.linalg.norm(target - design @ coefficients, axis=1)
        root = 1 / np.sqrt(np.maximum(residual, 0.5))[:, None]
        coefficients = np.linalg.lstsq(design * root, target * root, rcond=None)[0]
    residual = target - design @ coefficients
    distance = np.linalg.norm(residual, axis=1)
    inlier = distance < REGION + 1.5 * MAX_NOISE * min(1.0, float(np.median(distance)) / MAX_NOISE)
    noise = float(np.mean(np.std(residual[inlier], 0))) if inlier.any() else 255.0
    yy, xx = np.mgrid[:h, :w].astype(np.float64)
    surface = (_basis(yy.ravel(), xx.ravel(), (h, w)) @ coefficients).reshape(h, w, 3)
    return Background(surface.astype(np.float32), offsets.astype(np.float32), noise, float(inlier.mean()))


def _refine(frames: Sequence[UInt8[np.ndarray, "h w 3"]], background: Background) -> Background:
    """Lets the surface follow what the border could not know: vignettes, stains, uneven light.

    Each pixel's mean residual over the frames that show background there, spread smoothly to its
    neighbours; repeated, so that it grows inwards.
    """
    h, w = frames[0].shape[:2]
    sigma = 0.03 * max(h, w)
    surface = background.surface
    stride = max(1, len(frames) // 16)
    for _ in range(3):
        total, count = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32)
        for frame, offset in zip(frames[::stride], background.offsets[::stride], strict=True):
            residual = frame.astype(np.float32) - offset - surface
            seen = np.linalg.norm(_smooth(residual), axis=-1) < background.region
            seen = ndimage.binary_erosion(seen, iterations=2, border_value=1)
            total += residual * seen[..., None]
            count += seen
        weight = ndimage.gaussian_filter(count, sigma)
        spread = np.stack([ndimage.gaussian_filter(total[..., c], sigma) for c in range(3)], -1)
        surface = surface + spread / (weight[..., None] + 0.02 * len(frames[::stride]))
    return Background(
        np.clip(surface, 0, 255).astype(np.float32), background.offsets, background.noise, background.inliers
    )


def _smooth(picture: Float[np.ndarray, "h w 3"], sigma: float = 0.7) -> Float[np.ndarray, "h w 3"]:
    return np.stack([ndimage.gaussian_filter(picture[..., c], sigma) for c in range(3)], -1)


def _cut_out(
    frame: UInt8[np.ndarray, "h w 3"], surface: Float[np.ndarray, "h w 3"], background: Background
) -> tuple[UInt8[np.ndarray, "h w 4"], float]:
    """One frame's RGBA, and the share of its object that stands out clearly from the background."""
    picture = frame.astype(np.float32)
    residual = picture - surface
    distance = np.linalg.norm(_smooth(residual) if background.noise > 1.5 else residual, axis=-1)
    inside = _object_mask(distance, background)
    if not inside.any():
        return np.dstack([frame, np.zeros(frame.shape[:2], np.uint8)]), 0.0
    alpha, colour = _soft_edge(picture, surface, residual, inside, distance)
    alpha = _drop_specks(alpha)
    distinct = float((distance[alpha > 0.5] > background.region).mean()) if (alpha > 0.5).any() else 0.0
    rgba = np.dstack([np.clip(colour, 0, 255), alpha * 255])
    return np.rint(rgba).astype(np.uint8), distinct


def _object_mask(distance: Float[np.ndarray, "h w"], background: Background) -> Bool[np.ndarray, "h w"]:
    """Hysteresis, then holes: enclosed spots of background colour belong to the object unless they are
    as flat as the background itself and of some size (the gap between an arm and the body)."""
    eight = np.ones((3, 3), bool)
    region, count = ndimage.label(distance > background.region, eight)
    strong = np.zeros(count + 1, bool)
    strong[np.unique(region[distance > background.core])] = True
    strong[0] = False
    inside = strong[region]
    holes, count = ndimage.label(~inside)
    if count == 0:
        return inside
    edge = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    flat_limit = max(6.0, 3.0 * background.noise)
    smallest = max(12, 3e-3 * inside.sum())  # smaller ones are highlights
    boxes = ndimage.find_objects(holes)
    outside = set(edge.tolist())
    for i, box in enumerate(boxes, start=1):
        if i in outside or box is None:
            continue
        spot = holes[box] == i
        heart = ndimage.binary_erosion(np.pad(spot, 1))[1:-1, 1:-1]
        gap = heart.sum() >= smallest and np.median(distance[box][heart]) < flat_limit
        if not gap:
            inside[box] |= spot
    return inside


def _soft_edge(
    picture: Float[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    residual: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    distance: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]:
    """Alpha and object colours in a band along the edge; opaque inside it.

    The object's colour at an edge pixel is that of the nearest pixel well inside; in parts too thin to have
    an inside, the nearby pixel that differs most from the background. Alpha is the pixel's place between
    background and object colour.
    """
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
    solid = depth > BAND
    alpha = inside.astype(np.float32)
    colour = picture.copy()
    band = ndimage.binary_dilation(inside, iterations=1) & ~solid
    y, x = np.nonzero(band)
    if len(y) == 0:
        return alpha, colour
    source_y, source_x = _strongest(distance * inside, y, x)
    if solid.any():
        away, nearest = ndimage.distance_transform_edt(~solid, return_indices=True)
        near = away[y, x] <= 2 * BAND
        source_y = np.where(near, nearest[0][y, x], source_y)
        source_x = np.where(near, nearest[1][y, x], source_x)
    contrast = residual[source_y, source_x]  # object colour minus background, at its source
    length = (contrast**2).sum(-1)
    place = (residual[y, x] * contrast).sum(-1) / np.maximum(length, 1)
    soft = np.clip((place - 0.08) / 0.84, 0, 1)
    # where object and background look alike the place between them is noise: a slightly blurred mask instead
    geometric = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)[y, x]
    trust = np.clip((np.sqrt(length) - 25) / 35, 0, 1)
    a = trust * soft + (1 - trust) * geometric
    # darker than both (outlines, shaded rims) is object, not a mixture
    off_line = np.linalg.norm(residual[y, x] - place[:, None] * contrast, axis=-1)
    a = np.maximum(a, np.clip((off_line - CORE) / (2 * CORE), 0, 1) * inside[y, x])
    # next to an opaque inner pixel nothing may fall to zero inside: keep enclosed pale spots
    alpha[y, x] = np.where(depth[y, x] > BAND - 1, np.maximum(a, 0.5 * inside[y, x]), a)
    freed = (picture[y, x] - (1 - a[:, None]) * surface[y, x]) / np.maximum(a[:, None], 0.05)
    plausible = surface[y, x] + contrast
    mix = np.clip((a[:, None] - 0.3) / 0.6, 0, 1)
    colour[y, x] = np.clip(mix * np.clip(freed, 0, 255) + (1 - mix) * plausible, 0, 255)
    return alpha, colour


def _strongest(
    score: np.ndarray, y: np.ndarray, x: np.ndarray, radius: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the place of the highest score within a few pixels."""
    padded = np.pad(score, radius)
    best = np.full(len(y), -1.0)
    best_y, best_x = y.copy(), x.copy()
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            value = padded[y + dy + radius, x + dx + radius]
            better = value > best
            best = np.where(better, value, best)
            best_y, best_x = np.where(better, y + dy, best_y), np.where(better, x + dx, best_x)
    return np.clip(best_y, 0, score.shape[0] - 1), np.clip(best_x, 0, score.shape[1] - 1)


def _drop_specks(alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Removes islands below 0.2 % of the object, dust and compression noise among them."""
    islands, count = ndimage.label(alpha > 0.02, np.ones((3, 3), bool))
    if count < 2:
        return alpha
    area = ndimage.sum_labels(alpha, islands, np.arange(count + 1))
    keep = area >= max(8.0, 0.002 * alpha.sum())
    keep[0] = False
    keep[1 + int(np.argmax(area[1:]))] = True
    return alpha * keep[islands]


# ---- ONNX matting models -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelSpec:
    """What a family of matting networks expects. size: side of the input where the file leaves it open."""

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
"""By the beginning of the file's name; any other file is taken for the BiRefNet kind."""


def model_folder() -> Path:
    """Where matting models are looked for by name: VID4D_MATTING, or vid4d/matting in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("VID4D_MATTING") or cache / "vid4d" / "matting")


def find_model(name_or_file: str) -> Path:
    """A model's file, given as a path or by its name in `model_folder()`.

    Raises InputError if there is none.
    """
    given = Path(name_or_file)
    if given.is_file():
        return given
    named = model_folder() / f"{given.name.removesuffix('.onnx')}.onnx"
    if given.name == name_or_file and named.is_file():
        return named
    known = sorted(p.stem for p in model_folder().glob("*.onnx"))
    raise InputError(
        f"--matting {name_or_file}: neither a method (auto, alpha, plain), nor a file, nor a model in "
        f"{model_folder()} ({', '.join(known) or 'none there'}); give the path of an .onnx file"
    )


def installed_model() -> Path | None:
    """The first model in `model_folder()`, if onnxruntime is there to run it."""
    from importlib.util import find_spec

    files = sorted(model_folder().glob("*.onnx"))
    return files[0] if files and find_spec("onnxruntime") is not None else None


def model_spec(file: Path) -> ModelSpec:
    stem = file.stem.lower().replace("-", "").replace("_", "")
    return next((spec for name, spec in MODELS.items() if stem.startswith(name)), MODELS["birefnet"])


def remove_with_model(frames: Sequence[UInt8[np.ndarray, "h w 3"]], file: Path) -> Matte:
    """Masks from a BiRefNet-, IS-Net- or U2-Net-like ONNX file: input 1x3xSxS, first output the mask.

    Raises InputError where onnxruntime is missing or the file is no such network.
    """
    try:
        import onnxruntime
    except ImportError as e:
        raise InputError(f'{file}: matting models need onnxruntime; pip install "vid4d[matting]"') from e
    try:
        session: Any = onnxruntime.InferenceSession(
            str(file), providers=onnxruntime.get_available_providers()
        )
        port = session.get_inputs()[0]
        spec = model_spec(file)
        side = port.shape[-1] if isinstance(port.shape[-1], int) else spec.size
        kind = np.float16 if "float16" in port.type else np.float32
        results = []
        for frame in frames:
            prepared = model_input(frame, spec, side).astype(kind)
            mask = model_mask(session.run(None, {port.name: prepared})[0], frame.shape[:2])
            results.append(np.dstack([free_colours(frame, mask), np.rint(mask * 255).astype(np.uint8)]))
    except InputError:
        raise
    except Exception as e:  # onnxruntime raises its own kinds for damaged and for unfitting files
        raise InputError(f"{file}: this model cannot be used for matting ({str(e).splitlines()[0]})") from e
    return Matte(results, file.stem, _decidedness(results))


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


def free_colours(
    frame: UInt8[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], sigma: float = 4.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Object colours at soft edges, without the background's share.

    Blur fusion (Forte, "Approximate fast foreground colour estimation", ICIP 2021): local means of object and
    background, corrected so that the mixture gives back the picture.
    """
    picture = frame.astype(np.float32)
    a = alpha[..., None]
    front: np.ndarray
    back: np.ndarray
    front, back = np.empty_like(picture), np.empty_like(picture)
    weight_front = ndimage.gaussian_filter(alpha, sigma) + 1e-4
    weight_back = ndimage.gaussian_filter(1 - alpha, sigma) + 1e-4
    for c in range(3):
        front[..., c] = ndimage.gaussian_filter(picture[..., c] * alpha, sigma) / weight_front
        back[..., c] = ndimage.gaussian_filter(picture[..., c] * (1 - alpha), sigma) / weight_back
    front = front + a * (picture - a * front - (1 - a) * back)
    return np.rint(np.clip(np.where(a > 0.99, picture, front), 0, 255)).astype(np.uint8)


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
