"""Background removal: a weight-free method for plain backgrounds; models for the rest (matting_models.py).

The plain method needs no network: the background is a smooth surface of colour fitted to the border of the
pictures over the whole clip and refined with every pixel that turns out to be background; what differs from
it is the object. Edges get a soft alpha from how far a pixel lies between the two colours.

Pictures are 8-bit RGB or RGBA here, to hold many; distances of colour are Euclidean, in 8-bit steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.matting_onnx import find_model, installed_model, model_frames
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
    seen = [opaque(f) for f in frames]
    if method == "plain":
        return remove_plain_background(seen)
    if method != "auto":
        return _with_model(seen, find_model(method))
    try:
        return remove_plain_background(seen)
    except InputError:
        installed = installed_model()
        if installed is None:
            raise
        return _with_model(seen, installed)


def _with_model(frames: Sequence[UInt8[np.ndarray, "h w 3"]], file: Path) -> Matte:
    results, confidence = model_frames(frames, file)
    return Matte(results, file.stem, confidence)


def alpha_is_meaningful(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """True where at least 0.2 % of the pixels are transparent: an opaque alpha channel says nothing."""
    clear = sum(int((f[..., 3] < 128).sum()) for f in frames)
    return clear >= 0.002 * sum(f[..., 3].size for f in frames)


def opaque(frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours over white."""
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


def cut_from_white(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    """A picture that was drawn before white, as generative priors do; transparent where it shows nothing."""
    white = np.full(picture.shape, 255, np.float32)
    return _cut_out(picture, white, Background(white, np.zeros((1, 3), np.float32), 1.5, 1.0))[0]


def _basis(y: np.ndarray, x: np.ndarray, shape: tuple[int, int], degree: int) -> Float[np.ndarray, "n m"]:
    """Products of Legendre polynomials up to a total degree, over the picture as [-1, 1] x [-1, 1]."""
    u, v = 2 * x / max(shape[1] - 1, 1) - 1, 2 * y / max(shape[0] - 1, 1) - 1
    along_u = np.polynomial.legendre.legvander(u, degree)
    along_v = np.polynomial.legendre.legvander(v, degree)
    terms = [along_u[:, i] * along_v[:, n - i] for n in range(degree + 1) for i in range(n + 1)]
    return np.stack(terms, -1)


def _evaluate(coefficients: np.ndarray, shape: tuple[int, int], degree: int) -> Float[np.ndarray, "h w 3"]:
    y, x = np.mgrid[: shape[0], : shape[1]].reshape(2, -1).astype(np.float64)
    return (_basis(y, x, shape, degree) @ coefficients).reshape(*shape, 3).astype(np.float32)


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
    design = np.tile(_basis(y, x, (h, w), 2), (len(frames), 1))[::stride]
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
    surface = _evaluate(coefficients, (h, w), 2)
    return Background(surface, offsets.astype(np.float32), noise, float(inlier.mean()))


def _refine(frames: Sequence[UInt8[np.ndarray, "h w 3"]], background: Background) -> Background:
    """Lets the surface follow what the border could not know: vignettes, stains, uneven light.

    Fits it again to everything that turns out to be background, with more freedom each time, so that the
    background grows inwards; at last adds what remains, spread smoothly. Works on small copies.
    """
    h, w = frames[0].shape[:2]
    step = max(1, max(h, w) // 256)
    few = max(1, len(frames) // 16)
    small = [
        f[::step, ::step].astype(np.float32) - o
        for f, o in zip(frames[::few], background.offsets[::few], strict=True)
    ]
    shape = small[0].shape[:2]
    surface = background.surface[::step, ::step]

    def residuals() -> tuple[np.ndarray, np.ndarray]:
        total, count = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        for frame in small:
            residual = frame - surface
            seen = np.linalg.norm(_smooth(residual), axis=-1) < background.region
            seen = _reached_from_border(ndimage.binary_erosion(seen, iterations=2, border_value=1))
            total += residual * seen[..., None]
            count += seen
        return total, count

    for degree in (2, 3, 4, 4, 4):
        total, count = residuals()
        y, x = np.nonzero(count)
        root = np.sqrt(count[y, x])[:, None]
        basis = _basis(y.astype(np.float64), x.astype(np.float64), shape, degree)
        # a small ridge keeps the surface calm where no background was seen
        ridge = np.diag(np.full(basis.shape[1], np.sqrt(1e-3 * count.sum())))
        target = total[y, x] / count[y, x, None]
        coefficients = np.linalg.lstsq(
            np.vstack([basis * root, ridge]),
            np.vstack([target * root, np.zeros((len(ridge), 3))]),
            rcond=None,
        )[0]
        surface = surface + _evaluate(coefficients, shape, degree)
    for _ in range(2):
        total, count = residuals()
        sigma = 0.03 * max(shape)
        spread = ndimage.gaussian_filter(total, (sigma, sigma, 0))
        weight = ndimage.gaussian_filter(count, sigma)[..., None]
        surface = surface + spread / (weight + 0.02 * len(small))
    zoomed = surface
    if step > 1:
        rows = np.minimum(np.arange(h) / step, shape[0] - 1)
        columns = np.minimum(np.arange(w) / step, shape[1] - 1)
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        zoomed = np.stack([ndimage.map_coordinates(surface[..., c], grid, order=1) for c in range(3)], -1)
    return Background(
        np.clip(zoomed, 0, 255).astype(np.float32), background.offsets, background.noise, background.inliers
    )


def _reached_from_border(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    labels, count = ndimage.label(mask)
    reached = np.zeros(count + 1, bool)
    reached[_border_labels(labels)] = True
    reached[0] = False
    return reached[labels]


def _border_labels(labels: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))


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
    as flat as the background itself and lie near the outline (between fingers) or are of some size (between
    an arm and the body); a small flat spot deep inside is a highlight."""
    eight = np.ones((3, 3), bool)
    region, count = ndimage.label(distance > background.region, eight)
    strong = np.zeros(count + 1, bool)
    strong[np.unique(region[distance > background.core])] = True
    strong[0] = False
    inside = strong[region]
    if not inside.any():
        return inside
    holes, count = ndimage.label(~inside)
    if count == 0:
        return inside
    flat_limit = max(6.0, 3.0 * background.noise)
    smallest = max(12, 3e-3 * inside.sum())  # smaller ones are highlights
    boxes = ndimage.find_objects(holes)
    outside = set(_border_labels(holes).tolist()) - {0}
    outer = np.isin(holes, list(outside))
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    near = 0.02 * max(rows[-1] - rows[0], columns[-1] - columns[0])
    away = ndimage.distance_transform_edt(~outer) if outer.any() else np.full(inside.shape, np.inf)
    for i, box in enumerate(boxes, start=1):
        if i in outside or box is None:
            continue
        spot = holes[box] == i
        heart = ndimage.binary_erosion(np.pad(spot, 1))[1:-1, 1:-1]
        by_outline = away[box][spot].min() < near
        enough, limit = (3, 1.7 * flat_limit) if by_outline else (smallest, flat_limit)
        gap = heart.sum() >= enough and np.median(distance[box][heart]) < limit
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
