"""What Consistent4D makes an object of, a clip or a text, and the judge that goes with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.images import resized
from vid4d.methods import stages
from vid4d.priors.score import Judge, load_judge
from vid4d.priors.score_text import load_text_judge
from vid4d.priors.small.sampling import guess_elevation, load_small_prior
from vid4d.run import Run
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
        found = hashlib.sha256(repr((self.elevation, self.cyclic, self.text)).encode())
        for part in (self.frames, self.times):
            if part is not None:
                found.update(part.contiguous().cpu().numpy().tobytes())
        return found.hexdigest()


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
        _elevation(run, pictures),
        clip.seconds,
        clip.cyclic,
    )


def _elevation(run: Run, frames: Float[Tensor, "t h w 4"]) -> float:
    """Degrees, as told or as the small prior guesses."""
    if run.settings.elevation != "auto":
        return float(run.settings.elevation)
    prior = load_small_prior(run.device)
    found = guess_elevation(prior, resized(frames, prior.config.lift.image_size))
    run.progress.say(f"the camera seems to look down by {found:.0f} degrees (--elevation tells it)")
    return found


def judge_size(settings: Settings) -> str:
    """Which of the sizes of `consistent4d_limits.JUDGES` the settings ask for."""
    return "small" if settings.prior == "small" and not settings.text else "full"


def make_judge(run: Run, subject: Subject, guidance: float) -> Judge:
    """The prior that the settings name, told the subject. guidance: of a Zero123."""
    if subject.frames is None:
        return load_text_judge(run.settings.text_model, subject.text, run.device)
    judge = load_judge(run.settings.prior, run.device, guidance=guidance)
    judge.condition(subject.frames, subject.elevation)
    return judge
