"""Priors: what a method may ask of one, and the table of those there are.

A prior is an image network that knows what objects look like from other sides. It offers one protocol or
more:

    MatrixPrior      draws pictures of all views at all frames       (Efficient4D, 2401.08742)
    ScorePrior       scores renders, for distillation into a field   (Consistent4D, 2311.02848)
    ElevationGuess   is what it says of the clip's camera, a function

To add a prior: its file, with a function for each of them, and its row in `PRIORS`. Nothing heavy is
imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from vid4d.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

    from vid4d.cameras import Cameras
    from vid4d.matrix.matrix import TrustedView
    from vid4d.priors.samplers import NoiseSchedule

Offer = Literal["matrix", "score", "elevation"]
"""What a prior can offer."""


@dataclass(frozen=True)
class DrawRequest:
    """Sampling options that a run sets for any prior, which makes its own configuration of them.

    preset: 'draft', 'standard' or 'high'. sampler: 'auto' is the prior's own. steps: of the sampler, its own
    number where None. memory_gb: of the device, weights included; what is free where None. also: what other
    cameras than the clip's saw, at the times of its frames. devices: graphics cards to draw on at once.
    """

    preset: str = "standard"
    sampler: str = "auto"
    steps: int | None = None
    memory_gb: float | None = None
    also: tuple[TrustedView, ...] = ()
    devices: int = 1


@dataclass(frozen=True)
class DrawnViews:
    """Views of an object at the frames of a clip, and the cameras that see them.

    images: straight-alpha RGBA in [0, 1], on the CPU. cameras: one a view. A prior that has a geometry of its
    own, from which Gaussians could start, would hand it over here, beside its pictures.
    """

    images: Float[Tensor, "v t h w 4"]
    cameras: Cameras

    def __post_init__(self) -> None:
        """Raises ValueError where the pictures are no RGBA, or not those of the cameras."""
        shape, views = tuple(self.images.shape), len(self.cameras)
        height, width = self.cameras.height, self.cameras.width
        if len(shape) != 5 or (shape[0], *shape[2:]) != (views, height, width, 4):
            raise ValueError(
                f"a prior drew pictures of shape {shape}, but its {views} cameras want "
                f"({views}, t, {height}, {width}, 4): views, frames, height, width, RGBA"
            )


@runtime_checkable
class MatrixPrior(Protocol):
    """Multi-view prior that draws an image matrix. image_size: pixels of the frames that it takes."""

    image_size: int

    def draw(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> DrawnViews:
        """Pictures of the object from every view at every frame.

        frames: straight-alpha RGBA in [0, 1], `image_size` wide and high. elevation: of the input camera, at
        azimuth 0, degrees. cyclic: the clip is a loop. generator: makes it repeatable. progress: called with
        steps done and steps in all.
        Raises InputError for frames of another size and where the memory does not suffice.
        """
        ...


@runtime_checkable
class SequentialPrior(MatrixPrior, Protocol):
    """Matrix prior that draws frame by frame, so that a clip of any length fits."""

    @property
    def cameras(self) -> Cameras:
        """Of its views."""
        ...

    def draw_each(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        first: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Float[Tensor, "v h w 4"]]:
        """The pictures of `draw`, frame by frame from `first` on: the same, and few are held at a time."""
        ...


@runtime_checkable
class ScorePrior(Protocol):
    """Prior that knows an object and scores renders of it from any camera.

    schedule: the noise process of its latents.

    Everything that depends on the cameras but not on the renders is a `view`, made once per step and used for
    all levels of a cascade.
    """

    schedule: NoiseSchedule

    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> Any:
        """Poses of b cameras relative to the input camera, at the times of these frames of the clip."""
        ...

    def sds_loss(
        self,
        color: Float[Tensor, "l b h w 3"],
        alpha: Float[Tensor, "l b h w"],
        t: Int[Tensor, " b"],
        view: Any,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Score distillation of renders of l levels of b views, at the steps t of the schedule.

        color: over white, in [0, 1], of any size; alpha: of the same renders. generator: draws the noise,
        which is the same for all levels. Source: DreamFusion (2209.14988), section 3.2.
        """
        ...


class ElevationGuess(NamedTuple):
    """Elevation of a clip's camera, as a prior guesses it.

    degrees: of the camera above the object's horizon. spread: standard deviation of the frames' guesses,
    degrees; None for a single frame, which has nothing to disagree with.
    """

    degrees: float
    spread: float | None


@dataclass(frozen=True)
class WeightSpec:
    """A published file of weights: origin, licence, and how it is converted.

    what: for. network: "module:name" of the `weights.convert.Network` that reads it. licence, terms: the
    authors', and what comes with it. commercial: whether commercial use is allowed, as far as the licence
    says so. page: where the authors tell of it. file: its name. url: where it can be downloaded without a
    person; None where it cannot be. size, installed: bytes of the download and of the converted file,
    roughly. sha256: where one is published. ema: take the averaged copy of the network, as the authors' own
    programs do.
    """

    what: str
    network: str
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


SAMPLED = frozenset({"steps", "sampler", "memory", "devices"})
"""Options of a large network that draws by a diffusion sampler."""


@dataclass(frozen=True)
class PriorSpec:
    """A prior of the table.

    matrix: "module:function" that loads it as a `MatrixPrior`, called as `load_matrix_prior`; None where it
    draws no matrix. score: the same for a `ScorePrior` and `load_score_prior`. elevation: the same for a
    function that `guess_elevation` calls with the frames and the device.
    help: what `--prior` says of it. takes: the options of `DrawRequest` that have an effect on how it draws:
    'steps', 'sampler', 'memory', 'devices', 'also'; 'canonical' where it leaves the drawing to a finished
    object. A run refuses the others. guided: its score has classifier-free guidance.
    image_size: pixels that it works at. memory_gib: that it takes while a field is trained under its score,
    with the gradient through its encoder.
    elevations: least and greatest of the input camera's that it has learned from, degrees; all where nobody
    knows. licence: of its weights. weights: what has to be fetched first; None where they come with the
    package.
    """

    matrix: str | None = None
    score: str | None = None
    elevation: str | None = None
    help: str = ""
    takes: frozenset[str] = SAMPLED
    guided: bool = True
    image_size: int = 256
    memory_gib: float = 5.0
    elevations: tuple[float, float] = (-90.0, 90.0)
    licence: str = ""
    weights: WeightSpec | None = None

    def offers(self, protocol: Offer) -> bool:
        return getattr(self, protocol) is not None


STABLE_DIFFUSION = "MIT (repository); CreativeML OpenRAIL-M (the model it was trained on from)"
_OPENRAIL = (
    "trained on from Stable Diffusion, whose CreativeML OpenRAIL-M restricts some uses and passes "
    "its restrictions on"
)
_ZERO123_XL = WeightSpec(
    what="one view of an object from another; --prior zero123-xl, the score of consistent4d",
    network="vid4d.priors.zero123:NETWORK",
    licence=STABLE_DIFFUSION,
    commercial="unclear",
    terms=_OPENRAIL,
    page="https://github.com/cvlab-columbia/zero123",
    file="zero123-xl.ckpt",
    url="https://zero123.cs.columbia.edu/assets/zero123-xl.ckpt",
    size=15_460_000_000,
    installed=5_140_000_000,
    ema=True,
)
_ZERO123 = PriorSpec(
    matrix="vid4d.priors.multiview_sampling:load_matrix_prior",
    score="vid4d.priors.zero123_score:load_score_prior",
    help="large (`vid4d weights`), wants a graphics card; draws views that share only their noise",
    licence=STABLE_DIFFUSION,
    weights=_ZERO123_XL,
)

PRIORS = {
    "frustum": PriorSpec(
        matrix="vid4d.priors.frustum.prior:load_matrix_prior",
        score="vid4d.priors.frustum.score:load_score_prior",
        elevation="vid4d.priors.frustum.elevation:guess_with_shipped",
        help="comes with vid4d; makes one solid thing of every frame",
        takes=frozenset({"also", "canonical"}),
        guided=False,
        image_size=128,
        memory_gib=1.2,
        elevations=(-10.0, 40.0),
        licence="Apache-2.0",
    ),
    "syncdreamer": PriorSpec(
        matrix="vid4d.priors.multiview_sampling:load_matrix_prior",
        help="large (`vid4d weights`), wants a graphics card; draws sixteen pictures that know of each other",
        licence=STABLE_DIFFUSION,
        weights=WeightSpec(
            what="16 views of an object at once; --prior syncdreamer",
            network="vid4d.priors.syncdreamer:NETWORK",
            licence=STABLE_DIFFUSION,
            commercial="unclear",
            terms=_OPENRAIL,
            page="https://github.com/liuyuan-pal/SyncDreamer",
            file="syncdreamer-pretrain.ckpt",
            url=None,
            size=5_570_000_000,
            installed=5_570_000_000,
        ),
    ),
    "zero123-xl": _ZERO123,
    "zero123": replace(
        _ZERO123,
        help="the first version of zero123-xl",
        weights=replace(
            _ZERO123_XL,
            what="the first Zero123 (105000 steps), as zero123-xl",
            file="105000.ckpt",
            url="https://huggingface.co/cvlab/zero123-weights/resolve/main/105000.ckpt",
        ),
    ),
}
"""Name, as in `Settings.prior` -> what is known of it.

memory_gib: benchmarks/consistent4d_speed.py saw 3.5 GiB of a Zero123 on top of a field's (an H200, 8
renders)."""

DEFAULT_PRIORS: dict[Offer, str] = {"matrix": "frustum", "score": "frustum", "elevation": "frustum"}
"""What 'auto' stands for, by what a method needs; and which one guesses the elevation where the prior of a
run does not. They come with the package."""

TEXT_PRIOR = PriorSpec(image_size=512, licence="that of the model that --text-model names")
"""A Stable Diffusion that is told a text instead of a clip (`score_text`); not in the table, since its name
is a setting of its own."""


def prior_spec(name: str) -> PriorSpec:
    """The row of that name. Raises InputError where there is none."""
    if name not in PRIORS:
        raise InputError(f"there is no prior {name!r}: choose one of {', '.join(PRIORS)}")
    return PRIORS[name]


def priors_with(protocol: Offer) -> list[str]:
    """Names of the priors that offer a protocol."""
    return [name for name, spec in PRIORS.items() if spec.offers(protocol)]


def load_matrix_prior(name: str, device: torch.device | str = "cpu") -> MatrixPrior:
    """The prior of that name, to draw an image matrix. Raises InputError where it draws none, or its weights
    are not on this machine."""
    return _loader(name, "matrix")(name, device)


def load_score_prior(
    name: str,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    device: torch.device | str = "cpu",
    *,
    guidance: float | None = None,
    devices: int = 1,
) -> ScorePrior:
    """The prior of that name, conditioned on an object, to score renders of it.

    frames: of the clip, straight-alpha RGBA in [0, 1], square; seen from azimuth 0 and so many degrees of
    elevation. guidance: scale of classifier-free guidance; the prior's own where None. devices: graphics
    cards that share its work, for priors that take them.
    Raises InputError where it gives no score, or its weights are not on this machine.
    """
    more = {"devices": devices} if devices > 1 else {}
    return _loader(name, "score")(name, frames, elevation, device, guidance=guidance, **more)


def guess_elevation(
    name: str, frames: Float[Tensor, "t h w 4"], device: torch.device | str = "cpu"
) -> ElevationGuess:
    """The elevation of the clip's camera, guessed by the prior of that name, else by the default one.

    frames: square, straight-alpha RGBA in [0, 1], of any size.
    """
    guessing = name if prior_spec(name).offers("elevation") else DEFAULT_PRIORS["elevation"]
    return _loader(guessing, "elevation")(frames, device)


def _loader(name: str, protocol: Offer) -> Callable[..., Any]:
    entry = getattr(prior_spec(name), protocol)
    if entry is None:
        wanted = {
            "matrix": "draw an image matrix",
            "score": "score single views",
            "elevation": "guess the elevation",
        }[protocol]
        raise InputError(f"{name} cannot {wanted}: choose one of {', '.join(priors_with(protocol))}")
    return named_object(entry)


def named_object(entry: str) -> Any:
    """The object that "module:name" names, imported now."""
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)
