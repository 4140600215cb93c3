"""`vid4d weights list | fetch | convert | verify`: the weights that others publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from vid4d.errors import printable

if TYPE_CHECKING:
    from vid4d.priors.weights.network import Network
    from vid4d.runs.progress import Bar

T = TypeVar("T")
Name = Positional[Annotated[str, arg(metavar="NAME")]]


@dataclass(frozen=True)
class List:
    """Say which weights there are, what they are for, their licences, and which are on this machine."""

    def run(self) -> None:
        """Prints the table of published weights."""
        from vid4d.priors.weights import registry

        print(f"kept in {printable(str(registry.folder()))}")
        for name, entry in registry.WEIGHTS.items():
            path = registry.path_of(name)
            here = f"on this machine, {registry.gigabytes(path.stat().st_size)}" if path.is_file() else None
            print(f"\n{name}: {entry.what}")
            print(f"  licence     {entry.licence}")
            print(f"  commercial  {entry.commercial}; {entry.terms}")
            print(
                f"  {'here' if here else 'missing':<10}  {printable(str(here or registry.how_to_get(name)))}"
            )


@dataclass(frozen=True)
class Fetch:
    """Download weights, check them, and convert them. Goes on where it was stopped."""

    name: Name
    """One of those that `vid4d weights list` shows."""
    url: str | None = None
    """Another address of the same file: a mirror, or where the authors' own was moved to."""
    keep: bool = False
    """Keep the file as it was downloaded, too."""

    def run(self) -> None:
        """Downloads, verifies and converts one file."""
        from vid4d.errors import InputError
        from vid4d.priors.weights import registry
        from vid4d.priors.weights.fetch import download

        entry = registry.weight_spec(self.name)
        url = self.url or entry.url
        if registry.path_of(self.name).is_file():
            print(printable(f"{self.name}: already at {registry.path_of(self.name)}"))
            return
        if url is None:
            raise InputError(
                f"{self.name} cannot be downloaded by a program: {registry.how_to_get(self.name)}"
            )
        _say_licence(self.name)
        file = registry.folder() / "downloads" / self.name / entry.file
        if not file.is_file():
            by_hand = f"get {entry.file} by hand, {entry.page} says where, then: " + (
                f"vid4d weights convert {entry.file} --name {self.name}"
            )
            expected = registry.expected_source(self.name)
            digest = _with_bar(
                f"fetch {self.name}",
                lambda bar: download(url, file, sha256=expected, otherwise=by_hand, report=_megabytes(bar)),
            )
            registry.record(self.name, source=digest)
        _convert(file, self.name, registry.path_of(self.name), ema="auto")
        if not self.keep:
            file.unlink()


@dataclass(frozen=True)
class Convert:
    """Convert a published checkpoint that you have. Nothing that it contains is executed."""

    file: Positional[Annotated[Path, arg(metavar="FILE")]]
    """zero123-xl.ckpt, syncdreamer-pretrain.ckpt, flownet.pkl, a Consistent4D run's last.ckpt, or a folder of
    Zero123 in the layout of diffusers."""
    name: str | None = None
    """What to call it, one of those that `vid4d weights list` shows. Where not given: from the file."""
    out: Path | None = None
    """A .safetensors to write to. Where not given: the weights folder, under its name."""
    licence: str | None = None
    """What goes into the converted file as its licence. Where not given: that of the published file."""
    ema: Literal["auto", "yes", "no"] = "auto"
    """Whether to take the averaged copy of the network. 'auto' does what the authors' programs do."""
    force: bool = False
    """Replace the file that --out names, where it exists."""

    def run(self) -> None:
        """Converts a downloaded file."""
        from vid4d.errors import InputError
        from vid4d.files.paths import is_taken
        from vid4d.priors.weights import registry
        from vid4d.priors.weights.convert import network_in

        if not self.file.exists():
            raise InputError(f"there is no {self.file}: give a checkpoint, or a folder of diffusers")
        if self.out is not None and is_taken(self.out) and not self.force:
            raise InputError(f"{self.out} exists: replace it with --force, or name another place with --out")
        name = self.name
        if name is None and self.out is None:
            name = registry.named_after(self.file, network_in(self.file, _networks()).kind)
        elif name is not None and registry.network_of(name).kind != (
            kind := network_in(self.file, _networks()).kind
        ):
            raise InputError(f"{self.file} holds a network of the kind {kind}, which is not {name}")
        out = self.out if self.out is not None else registry.path_of(name or "")
        _convert(self.file, name, out, ema=self.ema, licence=self.licence)


@dataclass(frozen=True)
class Verify:
    """Hold the weights on this machine against their checksums."""

    name: Positional[Annotated[str | None, arg(metavar="[NAME]")]] = None
    """One of those that `vid4d weights list` shows. Where not given: all that are here."""

    def run(self) -> None:
        """Compares files with their checksums."""
        from vid4d.errors import InputError
        from vid4d.priors.weights import registry

        names = [self.name] if self.name else [n for n in registry.WEIGHTS if registry.path_of(n).is_file()]
        if not names:
            raise InputError(f"there are no weights in {registry.folder()}: see vid4d weights list")
        wrong = []
        for name in names:
            try:
                print(f"{name}: {_verified(name)}")
            except InputError as error:
                if len(names) == 1:
                    raise
                print(printable(f"{name}: {error}"))
                wrong.append(name)
        if wrong:
            failed = ", ".join(wrong)
            raise InputError(f"{len(wrong)} of {len(names)} weights are not as they should be: {failed}")


@dataclass(frozen=True)
class Weights:
    """Fetch, convert and check the weights that others publish (docs/weights.md)."""

    action: OmitSubcommandPrefixes[
        Annotated[List, subcommand("list")]
        | Annotated[Fetch, subcommand("fetch")]
        | Annotated[Convert, subcommand("convert")]
        | Annotated[Verify, subcommand("verify")]
    ]

    def run(self) -> None:
        """Runs the chosen subcommand."""
        self.action.run()


def _convert(
    file: Path, name: str | None, out: Path, *, ema: Literal["auto", "yes", "no"], licence: str | None = None
) -> None:
    from vid4d.priors.weights import registry
    from vid4d.priors.weights.convert import convert

    entry = registry.WEIGHTS.get(name or "")
    averaged = ema == "yes" or (ema == "auto" and entry is not None and entry.ema and _has_average(file))
    stated_licence = licence if licence is not None else entry.licence if entry else ""

    def make(bar: Bar) -> Path:
        return convert(
            file, out, licence=stated_licence, ema=averaged, networks=_networks(), report=_megabytes(bar)
        )

    _with_bar(f"convert {name or file.name}", make)
    if name is not None and out == registry.path_of(name):
        registry.record(name, converted=registry.sha256_of(out))
    print(printable(f"converted to {out}"))


def _networks() -> tuple[Network, ...]:
    """Networks that can be converted: of the table of priors, and the DyNeRF of Consistent4D's authors."""
    from vid4d.methods.consistent4d.convert import NETWORK
    from vid4d.priors.weights import registry

    return *registry.networks(), NETWORK


def _verified(name: str) -> str:
    from vid4d.priors.weights import registry

    return _with_bar(f"verify {name}", lambda bar: registry.verify(name, _megabytes(bar)))


def _has_average(file: Path) -> bool:
    from vid4d.priors.weights.checkpoint_reader import open_checkpoint

    return file.is_file() and any(key.startswith("model_ema.") for key in open_checkpoint(file))


def _say_licence(name: str) -> None:
    from vid4d.priors.weights import registry

    entry = registry.weight_spec(name)
    print(f"{name}: {entry.licence}")
    print(f"  commercial use: {entry.commercial}; {entry.terms}")
    print(f"  by fetching it you agree to its licence; see {entry.page}")


def _with_bar(what: str, do: Callable[[Bar], T]) -> T:
    from vid4d.runs.progress import Progress

    with Progress() as progress, progress.stage(what) as bar:
        return do(bar)


def _megabytes(bar: Bar) -> Callable[[int, int], None]:
    def report(done: int, size: int) -> None:
        bar.update(done // 1_000_000, max(1, size // 1_000_000) if size else None)

    return report
