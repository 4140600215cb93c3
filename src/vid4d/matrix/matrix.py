"""ImageMatrix: V views x T times of one object, with cameras, times and confidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import DEFAULT_ELEVATION, Cameras
from vid4d.media.images import over


@dataclass(frozen=True)
class TrustedView:
    """Pictures that another camera than the clip's took of the object: they are believed as the clip is.

    images: RGBA in [0, 1], straight alpha. camera: a single one, of their size. times: of the pictures, in
    [0, 1] over the clip, increasing.
    """

    images: Float[Tensor, "s h w 4"]
    camera: Cameras
    times: Float[Tensor, " s"]

    def nearest(self, times: Float[Tensor, " t"]) -> TrustedView:
        """The pictures nearest to some times, as if they were of these times."""
        chosen = (self.times[None] - times[:, None]).abs().argmin(1)
        return replace(self, images=self.images[chosen], times=times)


@dataclass(frozen=True)
class ImageMatrix:
    """Images of one moving object: V views x T times, the meeting point of priors and representations.

    images: RGBA in [0, 1], straight alpha, channels last.
    cameras: one per view, static over time; their width and height are those of the images.
    times: in [0, 1] over the clip, increasing.
    confidence: per pixel in [0, 1], or None before it was computed (Efficient4D, section 3.3).
    input_images, input_camera, input_times: the reference frames of the input video and their camera, where
        known. The input camera sits at azimuth 0; its picture size may differ from the matrix's.
    seconds: duration of the clip. cyclic: the clip is a loop. also: what other cameras saw (`--also`).
    of_moments: times of the whole matrix, where this holds some of them (`matrix/stored.py`).
    """

    images: Float[Tensor, "v t h w 4"]
    cameras: Cameras
    times: Float[Tensor, " t"]
    confidence: Float[Tensor, "v t h w"] | None = None
    input_images: Float[Tensor, "s hi wi 4"] | None = None
    input_camera: Cameras | None = None
    input_times: Float[Tensor, " s"] | None = None
    seconds: float = 1.0
    cyclic: bool = False
    also: tuple[TrustedView, ...] = ()
    of_moments: int | None = None

    def __post_init__(self) -> None:
        v, t, h, w, c = self.images.shape
        if c != 4:
            raise ValueError(f"images have {c} channels, expected 4 (RGBA)")
        if (len(self.cameras), self.cameras.height, self.cameras.width) != (v, h, w):
            raise ValueError(
                f"{v} views of {w}x{h} pixels but cameras for {len(self.cameras)} views of "
                f"{self.cameras.width}x{self.cameras.height}"
            )
        if self.times.shape != (t,):
            raise ValueError(f"{t} times in the images but {tuple(self.times.shape)} in times")
        if self.confidence is not None and self.confidence.shape != (v, t, h, w):
            raise ValueError(f"confidence has shape {tuple(self.confidence.shape)}, expected {(v, t, h, w)}")

    @property
    def elevation(self) -> float:
        """Degrees that the clip's camera looks down, to hundredths: what people are shown is seen from there.

        `DEFAULT_ELEVATION` where the matrix knows no clip.
        """
        camera = self.input_camera
        return DEFAULT_ELEVATION if camera is None else round(float(camera.elevation[0]), 2)

    @property
    def views(self) -> int:
        return self.images.shape[0]

    @property
    def frames(self) -> int:
        return self.images.shape[1]

    def on_background(self, background: float = 1.0) -> Float[Tensor, "v t h w 3"]:
        """Colors over a uniform background (white unless told)."""
        return over(self.images, background)

    def with_confidence(self, confidence: Tensor) -> ImageMatrix:
        return replace(self, confidence=confidence)
