"""Advice where something about a run looks off: a table of conditions and sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Facts:
    """Facts about a finished run, for the conditions.

    warnings: of the clip. matting_confidence: 0..1, how sure the background's removal was.
    elevation_unsure: the clip's camera was not told, and frames do not agree
        about it. preset: how much time was spent.
    seconds, key_frames: of the clip.
    confidence: mean confidence of the image matrix inside the masks (Efficient4D, section 3.3).
    input_psnr: dB, of the asset against the clip. agreement: overlap (intersection over union) of the asset's
        silhouettes with those of the image matrix.
    splats: in all. visible: of them at some moments, evenly spread.
    still_falling: share of the loss that the last fifth of the fit took away.
    minutes: the run took. gpu: it had one. Unknown is None.
    """

    warnings: tuple[str, ...] = ()
    matting_confidence: float = 1.0
    elevation_unsure: bool = False
    preset: str = "standard"
    seconds: float = 1.0
    key_frames: int | None = None
    confidence: float | None = None
    input_psnr: float | None = None
    agreement: float | None = None
    splats: int = 10_000
    visible: tuple[int, ...] = ()
    still_falling: float | None = None
    minutes: float = 1.0
    gpu: bool = False

    @property
    def thinnest(self) -> float:
        """Splats at the emptiest moment over the mean; 1 where moments are not known."""
        return min(self.visible) * len(self.visible) / max(1, sum(self.visible)) if self.visible else 1.0

    def warned(self, words: str) -> bool:
        """True where a warning of the clip holds these words."""
        return any(words in warning for warning in self.warnings)

    def below(self, name: str, limit: float) -> bool:
        """True where a fact is known and below the limit."""
        value = getattr(self, name)
        return value is not None and value < limit


@dataclass(frozen=True)
class Rule:
    """Rule of advice: when `applies`, a person reads what `looks` off and what to `try_next`.

    `looks` may hold facts in braces. serious: it spoils the asset; the others are worth knowing.
    """

    name: str
    applies: Callable[[Facts], bool]
    looks: str
    try_next: str
    serious: bool = True


SPARSE_KEYS = 0.5
"""Seconds between two key frames from which on motion is guessed."""

RULES = (
    Rule(
        "cut off",
        lambda f: f.warned("touches the border"),
        "The object leaves the picture, and what is cut off there stays cut off.",
        "Film with room around the object, or take the part of the clip that shows it whole: --start, --end.",
    ),
    Rule(
        "held",
        lambda f: f.warned("is joined to the object"),
        "Something comes in from the border of the picture, and what holds the object is part of it.",
        "Cut it off by its color with --held, or give masks without it: --masks FOLDER.",
    ),
    Rule(
        "uncertain mask",
        lambda f: f.matting_confidence < 0.6,
        "It is not clear what is object and what is background (confidence {matting_confidence:.2f}).",
        "Look at the input strip below. Film before a plain background, or give frames with alpha or a "
        "segmentation model: --matting FILE.onnx.",
    ),
    Rule(
        "mask jumps",
        lambda f: f.warned("area jumps"),
        "The mask changes its size all of a sudden: a part is missing, or a shadow was taken for the object.",
        "Find the moment in the input strip and leave it out with --start, --end, or give better masks.",
    ),
    Rule(
        "several objects",
        lambda f: f.warned("several separate objects"),
        "The mask holds several things, but the method expects one object.",
        "Choose one of them with --click X,Y or --box, or remove the others from the frames' alpha.",
    ),
    Rule(
        "moving camera",
        lambda f: f.warned("camera seems to move"),
        "The camera seems to move; its motion is then taken for the object's.",
        "Film from a tripod or a table, or stabilise the clip before.",
    ),
    Rule(
        "soft frames",
        lambda f: f.warned("soft frames"),
        "Some frames are blurred, and their blur becomes part of the asset.",
        "More light or a shorter exposure; or leave these frames out with --start, --end, --every.",
        serious=False,
    ),
    Rule(
        "motion blur",
        lambda f: f.warned("smeared by its motion"),
        "The object moved so fast that its frames are smeared, and its mask is too long there.",
        "Film with a shorter exposure and more light, or leave these frames out with --start, --end.",
    ),
    Rule(
        "jitter",
        lambda f: f.warned("from frame to frame: give the frames"),
        "The object's size or place jumps from frame to frame, and the asset jumps with it.",
        "Give the frames as they were before they were cropped, or crop all of them by one window.",
    ),
    Rule(
        "low resolution",
        lambda f: f.warned("very low resolution"),
        "The object is only few pixels large in the clip.",
        "Use the original video instead of a preview, or film from nearer.",
        serious=False,
    ),
    Rule(
        "low confidence",
        lambda f: f.below("confidence", 0.7),
        "The imagined pictures disagree from moment to moment (mean confidence {confidence:.2f}): "
        "the far sides flicker or dissolve.",
        "More key frames (--frames 16), a shorter part of the clip (--start, --end), or "
        "--preset high. Red places in the confidence maps below show where.",
    ),
    Rule(
        "sides disagree",
        lambda f: f.below("agreement", 0.75),
        "The asset does not fill the silhouettes of its image matrix (overlap {agreement:.2f}): "
        "the imagined sides contradict each other.",
        "Tell the camera's --elevation if you know it, or choose a clip in which the object's shape is "
        "clearer.",
    ),
    Rule(
        "poor likeness",
        lambda f: f.below("input_psnr", 24.0),
        "Even from the clip's own side the asset is not much like the clip ({input_psnr:.1f} dB).",
        "--preset standard or high; if it was that already, look whether the mask or the elevation is wrong.",
    ),
    Rule(
        "few splats",
        lambda f: f.splats < 1500,
        "There are only {splats:,} splats: the object is thin or small, or its masks hardly overlap.",
        "Check that the masks in the input strip are whole, and try --preset high.",
    ),
    Rule(
        "fading",
        lambda f: f.thinnest < 0.4,
        "At some moments most of the object is missing.",
        "More key frames (--frames), so that every moment has a picture near it.",
    ),
    Rule(
        "sparse key frames",
        lambda f: f.key_frames is not None and f.key_frames > 1 and f.seconds / f.key_frames > SPARSE_KEYS,
        "Only {key_frames} key frames stand for {seconds:.1f} s; fast motion in between is made up.",
        "More --frames, --key-frames-per-second 4, or a shorter part of the clip: --start, --end.",
        serious=False,
    ),
    Rule(
        "still learning",
        lambda f: f.still_falling is not None and f.still_falling > 0.1,
        "The loss was still falling when the fit ended.",
        "A longer fit: the next --preset.",
        serious=False,
    ),
    Rule(
        "draft",
        lambda f: f.preset == "draft",
        "This is a draft: few pictures between key frames and a short fit.",
        "--preset standard takes some times as long and looks better.",
        serious=False,
    ),
    Rule(
        "guessed elevation",
        lambda f: f.elevation_unsure,
        "How far the camera looks down was guessed, and the guess is unsure.",
        "If the object leans forwards or backwards, tell it: --elevation DEGREES (0 is level with it).",
        serious=False,
    ),
    Rule(
        "slow",
        lambda f: f.minutes > 30 and not f.gpu,
        "The run took {minutes:.0f} minutes without a GPU.",
        "--device cuda on a machine with an NVIDIA GPU, or --preset draft to try things out.",
        serious=False,
    ),
)


@dataclass(frozen=True)
class Advice:
    """A rule that applies, with its numbers filled in."""

    name: str
    looks: str
    try_next: str
    serious: bool


def advice(facts: Facts) -> list[Advice]:
    """The rules that apply, serious ones first, in the table's order."""
    values = asdict(facts)
    applicable = [
        Advice(rule.name, rule.looks.format(**values), rule.try_next, rule.serious)
        for rule in RULES
        if rule.applies(facts)
    ]
    return sorted(applicable, key=lambda a: not a.serious)
