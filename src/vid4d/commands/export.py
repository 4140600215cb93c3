"""`vid4d export RUN --to FORMAT`: files that other tools open."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from vid4d.errors import printable
from vid4d.export.formats import FORMATS, export
from vid4d.export.options import ExportOptions


@dataclass(frozen=True)
class Export:
    """Write an asset in a format that other tools open (docs/formats.md)."""

    asset: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run folder or an asset.safetensors."""
    to: Annotated[str, arg(metavar="FORMAT", help="\n".join(f"{k}: {v.help}" for k, v in FORMATS.items()))]
    out: Path | None = None
    """A file, or a folder for numbered files. Where not given: in export/ beside the asset."""
    export: OmitArgPrefixes[ExportOptions] = field(default_factory=ExportOptions)
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Writes the export and prints its files."""
        from vid4d import api
        from vid4d.runs.progress import Progress

        asset = api.load(self.asset, self.device)
        with Progress() as progress, progress.stage(f"export {self.to}") as bar:
            files = export(asset, self.to, self.out, replace(self.export, report=bar.update))
        for file in _shown(files):
            print(printable(str(file)))


def _shown(files: list[Path]) -> list[Path]:
    """The lines to print: the files, or the folder where they are numbered."""
    return [files[0].parent] if files[0].stem.startswith("frame_") else files
