"""The subject of Consistent4D, a clip or a text, and its prior."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.methods import stages
from vid4d.priors.base import TEXT_PRIOR, PriorSpec, ScorePrior, load_score_prior, prior_spec
from vid4d.priors.score_text import load_text_prior
from vid4d.runs.run import Run
from vid4d.settings import Settings

TEXT_ELEVATION = 15.0
"""Degrees from which the front of an object is looked at where no clip tells it."""


@dataclass(frozen=True)
class Subject:
    """The object to make.

    frames: of the clip, straight-alpha RGBA; None where there is only a text. times: of the frames, in
    [0, 1]; a single 0 for a static object. elevation: degrees that the clip's camera looks down.
    """

    frames: Float[Tensor, "t h w 4"] | None
    times: Float[Tensor, " t"]
    elevation: float
    seconds: float = 1.0
    cyclic: bool = False
    text: str = ""

    def camera(self, size: int) -> Cameras:
        """The clip's camera, with pictures of `size` pixels."""
        return Cameras.orbit([0.0], self.elevation, size=size)

    def digest(self) -> str:
        """A hash of all of it."""
        digest = hashlib.sha256(repr((self.elevation, self.cyclic, self.text)).encode())
        for part in (self.frames, self.times):
            if part is not None:
                digest.update(part.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()


def read_subject(run: Run, frames: int, size: int) -> Subject:
    """The clip as the settings say, through the stage `frames`; or the text.

    frames: key frames where the settings name no number. size: of their pictures.
    """
    s = run.settings
    if s.text:
        elevation = TEXT_ELEVATION if s.elevation == "auto" else float(s.elevation)
        return Subject(None, torch.zeros(1), elevation, text=s.text)
    clip = stages.frames(run, frames=frames, size=size)
    pictures = torch.from_numpy(clip.frames)
    if len(clip) == 1:
        run.progress.say("one frame: the object will be static")
    return Subject(
        pictures,
        torch.from_numpy(clip.times).float(),
        stages.input_elevation(run, pictures),
        clip.seconds,
        clip.cyclic,
    )


def spec_of(settings: Settings) -> PriorSpec:
    """The table row of the prior that the settings ask for."""
    return TEXT_PRIOR if settings.text else prior_spec(settings.prior)


def make_prior(run: Run, subject: Subject, guidance: float | None = None) -> ScorePrior:
    """The prior that the settings name, told the subject.

    guidance: scale of classifier-free guidance; the prior's own where None.
    """
    if subject.frames is None:
        return load_text_prior(run.settings.text_model, subject.text, run.device, guidance=guidance)
    return load_score_prior(
        run.settings.prior,
        subject.frames,
        subject.elevation,
        run.device,
        guidance=guidance,
        devices=run.settings.devices,
    )
