"""`vid4d evaluate JUDGED --truth FOLDER`: an asset of any tool against a truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from vid4d.errors import InputError, printable
from vid4d.files.paths import is_taken

if TYPE_CHECKING:
    from vid4d.evaluation.result import Result


@dataclass(frozen=True)
class Evaluate:
    """Judge an asset of any tool against a truth, or compare two results (docs/evaluation.md)."""

    judged: Positional[Annotated[str, arg(metavar="JUDGED")]] = ""
    """A run folder or asset.safetensors; a PLY of splats or an animated GLB, or a folder of one a moment; an
    image matrix; a folder with a folder of pictures, or a video, per view. For a truth of several objects: a
    folder with one of each name."""
    truth: Path | None = None
    """A folder with cameras.json (and perhaps mesh.glb); an animated GLB; one in the layout of Consistent4D's
    test set (eval_0 to eval_3); or a folder of such."""
    protocol: Literal["strict", "consistent4d"] = "strict"
    """strict: data range, size and background stated, at the truth's size. consistent4d: as the published
    scripts of Consistent4D have it."""
    out: Path | None = None
    """A .json for the result: all numbers, hashes of what they come from, the protocol."""
    picture: Path | None = None
    """A .png or .jpg to look at: the judged above the truth."""
    textureless: bool = False
    """The picture shows normals instead of colors, to judge geometry by eye."""
    compare: tuple[Path, Path] | None = None
    """Two results to put side by side; those of different protocols or truths are refused."""
    lpips: Annotated[tuple[str, str] | None, arg(metavar="TRUNK HEADS")] = None
    """Weights for LPIPS: a VGG-16 of torchvision, and the heads of the package lpips. Files, or names in the
    folder of weights; so for the next two. What is not given is not measured."""
    clip: Annotated[str | None, arg(metavar="FILE")] = None
    """Weights for CLIP similarity: ViT-B/32 as the library transformers keeps it."""
    i3d: Annotated[str | None, arg(metavar="FILE")] = None
    """Weights for FVD: I3D trained on Kinetics-400 (i3d_pretrained_400.pt)."""
    size: int | None = None
    """Width in pixels at which things are judged. Where not given: the truth's."""
    first: int | None = None
    """Only the first so many moments of the truth."""
    elevation: float | None = None
    """Degrees that cameras look down where the truth does not say it. Where not given: 0 for eval_0 to
    eval_3, 15 for a GLB."""
    up: Literal["z", "y", "y-down"] = "z"
    """The upward axis of splats of other tools; y is glTF's (front +z), y-down OpenCV's (front -z)."""
    turn: float = 0.0
    """Degrees by which the judged is turned around its upward axis."""
    scale: float = 1.0
    """Factor by which the judged is scaled about the origin."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """World units by which the judged is moved, after --turn and --scale."""
    force: bool = False
    """Replace files that exist."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Prints a table, and writes the result."""
        if self.compare is not None:
            self._compare(*self.compare)
            return
        if not self.judged or self.truth is None:
            raise InputError(
                "nothing to judge: give what to judge and its truth, as in vid4d evaluate RUN --truth FOLDER"
            )
        self._check()
        from vid4d.evaluation.evaluate import Looked, evaluate, save_sheet
        from vid4d.evaluation.networks import load_networks
        from vid4d.evaluation.placement import Placement
        from vid4d.evaluation.protocol import protocol_of
        from vid4d.runs.progress import Progress

        looked: list[Looked] = []
        with Progress() as progress:
            result = evaluate(
                Path(self.judged),
                self.truth,
                protocol_of(self.protocol, size=self.size, elevation=self.elevation, first=self.first),
                placement=Placement(self.up, self.turn, self.scale, self.shift),
                networks=load_networks(self.lpips, self.clip, self.i3d),
                device=self.device,
                stage=progress.stage,
                look=looked.append if self.picture is not None else None,
            )
        if self.picture is not None:
            save_sheet(self.picture, looked, textureless=self.textureless)
        self._print(result)

    def _check(self) -> None:
        for path, endings in ((self.out, (".json",)), (self.picture, (".png", ".jpg", ".jpeg"))):
            if path is None:
                continue
            if path.suffix.lower() not in endings:
                raise InputError(f"{path} has an unknown ending: use {endings[0]}")
            if path.is_dir() or (is_taken(path) and not self.force):
                raise InputError(f"{path} exists: replace it with --force, or name another place")
        if self.textureless and self.picture is None:
            raise InputError("--textureless is about the picture: name one with --picture")
        if not 1e-3 <= self.scale <= 1e3:
            raise InputError(f"a scale of {self.scale:g} makes nothing visible: choose 0.001 to 1000")
        if not all(-1e3 <= x <= 1e3 for x in self.shift):
            raise InputError("a shift of that size moves everything out of sight: choose -1000 to 1000")
        if not -360 <= self.turn <= 360:
            raise InputError(f"a turn of {self.turn:g} degrees does not exist: choose -360 to 360")

    def _print(self, result: Result) -> None:
        from vid4d.evaluation.result import table, to_json
        from vid4d.files.write import write_json

        print(table(result))
        for name, reason in result.absent.items():
            print(printable(f"not measured: {name}, {reason}"))
        if self.out is not None:
            write_json(self.out, to_json(result))

    def _compare(self, first: Path, second: Path) -> None:
        from vid4d.evaluation.result import comparison, read_result

        print(comparison(read_result(first), read_result(second)))
