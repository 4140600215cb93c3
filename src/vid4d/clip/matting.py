"""Background removal: a weight-free method for plain backgrounds; models for the rest (matting_onnx.py).

The plain method needs no network: the background is a smooth surface of color fitted to the border of the
pictures over the whole clip and refined with every pixel that turns out to be background; what differs from
it is the object. Edges get a soft alpha from how far a pixel lies between the two colors.

Pictures are 8-bit RGB or RGBA here, to hold many; distances of color are Euclidean, in 8-bit steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.contrast import SEEN, faint_outline, with_contrast
from vid4d.clip.ground import ABOVE, KEPT, flat_at_foot, furniture, shade_kept
from vid4d.clip.matting_onnx import find_model, installed_model, model_frames
from vid4d.clip.shadows import Shadows
from vid4d.clip.spool import Mapped, Spool
from vid4d.clip.surface import MAX_NOISE, fit_background, refine
from vid4d.errors import InputError, install_hint
from vid4d.media.images import color_distance, over_white_uint8
from vid4d.media.keying import (
    CORE,
    REGION,
    Background,
    around,
    cut_out,
)
from vid4d.media.shining import shining_through

MIN_INLIERS = 0.6  # share of the border that the fitted surface must explain
UNSURE = 0.6  # confidence below which a model is taken, where there is one
BESIDE = 3, 12  # pixels from the object, from and to, where compression leaves its traces
TRACES = 0.02  # share of these pixels that differ a little, if there are none
LOWEST = 5.0  # distance from the background that is no accident then
HARDLY_SURE = 0.5  # confidence in the mask of such an object, at most
QUESTIONED = 0.75  # confidence, at most, where ground in shade may be kept, or parts be taken for it
LEFT = 0.5  # share of the usual that has to be left of an object in every frame, if its shadow was one
CLEAN = 1.0  # noise up to which faint edges are none of its own, 8-bit steps
LEAST_LEFT = 0.25  # share of what is no bare background that is no shadow
UNSTEADY = 12.0  # change of the background's brightness in a clip, 8-bit steps, that shows in the object
FAINT = 0.02  # share of an outline that may look like the background; of others it is below 0.005
MODEL = f"{install_hint('matting')} and --matting FILE.onnx (BiRefNet, IS-Net or U2-Net)"


@dataclass(frozen=True, eq=False)
class Plain:
    """What was keyed out: a background, and the shadows on it."""

    background: Background
    shadows: Shadows

    def surface(self, frame: int, picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
        """The bare background of a frame, its shadow on it, in 8-bit steps."""
        return self.ground(frame, picture)[0]

    def ground(
        self, frame: int, picture: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
        """The same, and what is known to be ground between limbs."""
        return self.shadows.on(picture, self.background.surface + self.background.offsets[frame])

    def shines_in(
        self, pictures: Sequence[UInt8[np.ndarray, "h w 4"]]
    ) -> Callable[[int, Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]], bool]:
        """Of a frame's number, its mask, and a hole: whether the background shines through. See `shining`."""

        def shines(i: int, mask: Bool[np.ndarray, "h w"], hole: Bool[np.ndarray, "h w"]) -> bool:
            box = around(mask, 8)
            surface = self.background.surface[box] + self.background.offsets[i]
            picture = over_white_uint8(pictures[i][box]).astype(np.float32)
            return bool(shining_through(picture, surface, mask[box], hole[box], self.background.flat).any())

        return shines


@dataclass(frozen=True)
class Matte:
    """Frames with their backgrounds removed.

    frames: RGBA, straight alpha, colors at soft edges freed from the background's.
    method: 'alpha', 'plain' or the model's name. confidence: 0 (a guess) to 1 (certain).
    notes: what was left out, in words. plain: what was keyed out.
    """

    frames: Sequence[UInt8[np.ndarray, "h w 4"]]
    method: str
    confidence: float
    notes: tuple[str, ...] = ()
    plain: Plain | None = None

    def contrast(
        self, frame: int, picture: UInt8[np.ndarray, "h w 4"], rgba: UInt8[np.ndarray, "h w 4"]
    ) -> Float[np.ndarray, "h w 3"]:
        """How far a frame differs from its background, 8-bit steps: in its colors, or else by its alpha.

        picture: the frame as it came. rgba: without background.
        """
        if self.plain is None:
            return np.repeat(rgba[..., 3:].astype(np.float32), 3, -1)
        colors = over_white_uint8(picture)
        return colors - self.plain.surface(frame, colors)


def matte(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    method: str = "auto",
    *,
    kind: str = "auto",
    keep_shadows: bool = False,
) -> Matte:
    """Gives every frame its mask.

    method: 'alpha' (as it comes), 'plain', the name or file of an ONNX model, or 'auto': alpha where it says
        something, else plain, else (or where that is not sure) a model that is installed.
    kind: of the model, as of `matting_onnx.MODELS`; 'auto' asks the file.
    keep_shadows: of a plain background.
    Raises InputError where the method does not fit the frames.
    """
    meaningful = alpha_is_meaningful(frames)
    if method == "alpha" or (method == "auto" and meaningful):
        if not meaningful:
            raise InputError(
                "the frames have no transparency to take the mask from; "
                f"leave --matting at auto or {_advice()}"
            )
        return Matte(Spool(frames, boxed=True), "alpha", 1.0)
    pictures = Mapped(frames, over_white_uint8)
    if method == "plain":
        return remove_plain_background(pictures, keep_shadows=keep_shadows)
    if method != "auto":
        return _with_model(pictures, find_model(method), kind)
    installed = installed_model()
    try:
        plain = remove_plain_background(pictures, keep_shadows=keep_shadows)
    except InputError:
        if installed is None:
            raise
        return _with_model(pictures, installed, kind)
    if installed is None or plain.confidence >= UNSURE:
        return plain
    return _with_model(pictures, installed, kind)


def _with_model(frames: Sequence[UInt8[np.ndarray, "h w 3"]], file: Path, kind: str) -> Matte:
    results, confidence = model_frames(frames, file, kind)
    return Matte(results, file.stem, confidence)


def _advice() -> str:
    """Advice where no background can be removed."""
    ways = "give frames with transparency, film before a plain background"
    return f"{ways}, or use a matting model: {MODEL}"


def alpha_is_meaningful(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """True where at least 0.2 % of the pixels are transparent: an opaque alpha channel says nothing."""
    clear = sum(int((f[..., 3] < 128).sum()) for f in frames)
    return clear >= 0.002 * sum(f[..., 3].size for f in frames)


def remove_plain_background(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], *, keep_shadows: bool = False
) -> Matte:
    """Removes a background of one color or of a smooth gradient, with the object's shadow on it.

    Raises InputError where the border of the pictures is not plain.
    """
    background = fit_background(frames)
    if background.inliers < MIN_INLIERS or background.noise > MAX_NOISE:
        raise InputError(
            "the background is not plain (a smooth color explains "
            f"{background.inliers:.0%} of the border): {_advice()}"
        )
    background, shadows = _background_and_shadows(frames, background, keep_shadows)
    background, levels = with_contrast(frames, background)
    plain = Plain(background, replace(shadows, background=background))
    results, clear = _cut(frames, plain)
    eaten = shadows.there and not _same_object(frames, results, background)
    if eaten:
        plain = Plain(background, Shadows(background, there=False, doubtful=True))
    if eaten or not (shadows.there or keep_shadows or background.noise > CLEAN):
        finer = Plain(background, Shadows.look(frames, background, most=3, fine=True))
        cut = _cut(frames, finer) if finer.shadows.there else (results, clear)
        if finer.shadows.there and _same_object(frames, cut[0], background):
            plain, (results, clear) = finer, cut
        elif eaten:
            results, clear = _cut(frames, plain)
    shadows = plain.shadows
    if levels and not any(r[..., 3].any() for r in results):
        raise InputError(
            f"nothing differs clearly from the background (at most {levels}): film before another color, "
            f"give --masks or frames with transparency, or use a matting model: {MODEL}"
        )
    fits = np.clip((background.inliers - 0.5) / 0.4, 0, 1) * np.clip(1.2 - background.noise / MAX_NOISE, 0, 1)
    few = range(0, len(frames), max(1, len(frames) // 9))
    core = min(CORE, background.core)
    upper = keep_shadows or shadows.doubtful  # a shadow fades, too, at the foot
    surfaces = {i: plain.surface(i, frames[i]) for i in few}
    outlines = [faint_outline(results[i], frames[i], surfaces[i], core, upper) for i in few]
    faint = float(np.mean(outlines))
    doubtful = shadows.doubtful
    if keep_shadows:  # what stands in them is as doubtful as it would be without
        bared = Plain(background, Shadows.look(frames, background))
        faint = max(faint, _faint_without_shadows(frames, bared, few, core))
        doubtful = bared.shadows.doubtful
    confidence = float(fits * np.clip(np.mean(clear) / 0.85, 0, 1))
    notes = list(shadows.notes)
    if np.isfinite(background.contrast):
        confidence = min(confidence, HARDLY_SURE)
        notes.append(
            f"the object hardly differs from its background ({levels}), parts of it may be missing: film "
            "before another color, or give --masks or a matting model"
        )
    swing = float(np.ptp(background.offsets.mean(-1)))
    if swing > UNSTEADY:
        notes.append(
            f"the light on the background changes by {swing:.0f} of 255 in the clip, and the object's colors "
            "with it: film with fixed exposure in steady light, or even it out before"
        )
    if doubtful:
        confidence = min(confidence, HARDLY_SURE)
    if faint > FAINT:
        confidence *= max(0.3, 1 - 3 * faint)
        notes.append(
            f"the object looks like the background along {faint:.0%} of its outline, parts of it may be "
            "missing or too much be kept: film before another color, or give --masks or a matting model"
        )
    looks = [] if keep_shadows else list(few)[::2]
    lying = [flat_at_foot(frames[i], results[i], surfaces[i], background) for i in looks]
    flat = float(np.median(lying)) if lying else 0.0
    if flat > 0:
        confidence *= 1 - flat
        notes.append(
            f"{flat:.0%} of the object or more lies flat at its foot in the background's hue and is kept: if "
            "that is a hard shadow or what the object stands on, film in soft light without it, or give "
            "--masks or a matting model"
        )
    bare = [background.surface + background.offsets[i] for i in looks]
    shades = [
        shade_kept(frames[i], results[i], b, background, shadows.hue)
        for i, b in zip(looks, bare, strict=True)
    ]
    kept, above, place = np.median(shades, 0) if shades else (0.0, 0.0, 0.5)
    if kept > KEPT and above <= ABOVE * kept:
        confidence = min(confidence, QUESTIONED)
        if not flat:
            confidence *= max(0.4, 1 - 3 * kept)
            side = "left" if place < 1 / 3 else "right" if place > 2 / 3 else "middle"
            notes.append(
                f"{kept:.0%} of the mask, in its lower half and mostly at its {side}, look like ground in "
                "shade and are kept: if they are, film in softer light, or give --masks or a matting model"
            )
    if shadows.there and shadows.hue is not None and not shadows.hue.reach:
        confidence = min(confidence, QUESTIONED)
        notes.append(
            "parts of the object have the very hue of its shadow: at its foot some may be missing, or ground "
            "be kept; --keep keeps all, or give --masks or a matting model"
        )
    if confidence < UNSURE and not keep_shadows and furniture([results[i] for i in few]):
        raise InputError(
            "what differs from the background reaches from one side of the picture to the other, as a table, "
            f"a floor, a wall or a window does and no object: {_advice()} (--keep takes it nevertheless)"
        )
    return Matte(results, "plain", round(confidence, 3), tuple(notes), plain)


def _faint_without_shadows(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], plain: Plain, few: Sequence[int], core: float
) -> float:
    """Share of the outline that looks like the background, of the object without its shadows."""
    outlines = []
    for i in few:
        surface, ground = plain.ground(i, frames[i])
        rgba, _ = cut_out(frames[i], surface, plain.background, ground)
        outlines.append(faint_outline(rgba, frames[i], surface, core, plain.shadows.doubtful))
    return float(np.mean(outlines))


def _cut(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], plain: Plain
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], list[float]]:
    """All frames' RGBA, and how distinct their objects are, as of `cut_out`."""
    objects, clear = Spool(boxed=True), []
    for i, frame in enumerate(frames):
        surface, ground = plain.ground(i, frame)
        rgba, distinct = cut_out(frame, surface, plain.background, ground)
        objects.append(rgba)
        clear.append(distinct)
    return objects, clear


def _same_object(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    results: Sequence[UInt8[np.ndarray, "h w 4"]],
    background: Background,
) -> bool:
    """Whether about as much is left of the object in every frame, when its shadow is taken away.

    An object of the background's hue is taken for a shadow in parts, and in other parts in other frames.
    Frames in other light than most, as of a flash, in which all is pale, say nothing about that.
    """
    left = []
    usual = _in_usual_light(background)
    for i, (frame, rgba) in enumerate(zip(frames, results, strict=True)):
        if not usual[i]:
            continue
        distance = color_distance(frame - (background.surface + background.offsets[i]))
        whole = (distance > background.region).sum()
        if whole >= SEEN * distance.size:
            left.append((rgba[..., 3] > 127).sum() / whole)
    return not left or bool(min(left) > max(LEFT * np.median(left), LEAST_LEFT))


def _in_usual_light(background: Background) -> Bool[np.ndarray, " frames"]:
    """Frames whose background is about as bright as most frames'; all, where fewer than half of them are."""
    light = background.offsets.mean(-1)
    usual = np.abs(light - np.median(light)) <= UNSTEADY
    return usual if 2 * usual.sum() >= len(usual) else np.ones_like(usual)


def _background_and_shadows(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], fitted: Background, keep_shadows: bool
) -> tuple[Background, Shadows]:
    """The background refined, and the shadows on it; with the lower limit only where there are none."""
    background = refine(frames, fitted)
    shadows = Shadows(background, False, False) if keep_shadows else Shadows.look(frames, background)
    limit = _limit(frames, fitted)
    if limit < REGION and not (shadows.there or shadows.doubtful):
        strict = refine(frames, replace(fitted, limit=limit))
        faint = Shadows(strict, False, False) if keep_shadows else Shadows.look(frames, strict)
        if not (faint.there or faint.doubtful):
            return strict, faint
    return background, shadows


def _limit(frames: Sequence[UInt8[np.ndarray, "h w 3"]], background: Background) -> float:
    """`Background.limit`: lower than usual where the pictures show that compression left no traces.

    Looks beside what is certainly object in some frames, where such traces are; everywhere if nothing is.
    """
    if background.noise > 0.5:
        return REGION
    traces = []
    for i in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 5)).round().astype(int)):
        distance = color_distance(frames[i] - (background.surface + background.offsets[i]))
        strong = distance > background.core
        beside = np.ones_like(strong)
        if strong.any():
            beside = ndimage.binary_dilation(strong, iterations=BESIDE[1])
            beside &= ~ndimage.binary_dilation(strong, iterations=BESIDE[0])
        if beside.any():
            near = distance[beside]
            traces.append(float(((near > 0.5) & (near < LOWEST)).mean()))
    return LOWEST if max(traces, default=1.0) < TRACES else REGION
