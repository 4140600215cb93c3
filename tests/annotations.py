"""Every shape and type that is written in the package is checked while tests run (jaxtyping, beartype)."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedIOBase, TextIOBase
from typing import BinaryIO, TextIO, TypeVar

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

T = TypeVar("T", bound=Callable)
FILES = {BinaryIO: BinaryIO | BufferedIOBase, TextIO: TextIO | TextIOBase}
"""Files in memory, too, are files."""
RULES = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict(FILES))


def checked(thing: T) -> T:
    """A function or class whose annotations are checked; where a float is wanted, a whole number is one."""
    return beartype(conf=RULES)(thing)


def check_annotations() -> None:
    """Checks annotations in all modules of the package that are imported from now on.

    Triton reads the source of its kernels, whose parameters have no types: these modules are left alone.
    """
    hook = install_import_hook("vid4d", f"{__name__}.checked").hook
    everything = hook.should_instrument

    def should_instrument(name: str) -> bool:
        return everything(name) and not name.endswith("_kernels") and name != "vid4d.kernels.probe"

    hook.should_instrument = should_instrument
