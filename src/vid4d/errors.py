"""Exceptions that mean: the input, or the machine and its settings, are at fault, not the program.

Sentences for it, and for faults of the system; hints for packages that are missing.
"""

from __future__ import annotations

import errno
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
"""Where the source tree lies, if this is one."""

FAULTS = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)
"""What readers raise for files that are missing, cut off or damaged. SyntaxError is Pillow's."""

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

WAYS_OUT = {
    errno.EFBIG: "raise the limit (ulimit -f), or choose a place that holds larger files with --out",
    errno.EROFS: "choose a place that can be written to with --out",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n), or close other programs",
    errno.EIO: "the drive may be failing; choose another place with --out",
}
"""What to do about errors of the system that are nobody's fault."""


NO_MEMORY = (
    *("allocate memory", "out of memory", "bad_alloc", "alloc_failed"),
    *("failed to map segment", "zero-fill pages", "can't start new thread"),
)
"""What libraries, the loader of shared objects and Python's threads say where memory ran out."""


class InputError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class MachineError(InputError):
    """What the machine, its weights or the settings are at fault for, whatever the input.

    Too little free memory, a card that computes something else, weights that cannot be loaded, a package
    that is missing: another clip would fare no better, and this one may do well elsewhere or later.
    """


@contextmanager
def machine_at_fault() -> Iterator[None]:
    """A block that looks at no input: its InputErrors become MachineErrors with the same sentence."""
    try:
        yield
    except MachineError:
        raise
    except InputError as error:
        raise MachineError(str(error)) from error


def blames_machine(error: BaseException) -> bool:
    """True for an error that is a MachineError, or comes from one."""
    return any(isinstance(cause, MachineError) for cause, _ in _causes(error))


def blames_input(error: BaseException) -> bool:
    """True for an InputError that would come again, on any machine at any time, until the input is mended."""
    if not isinstance(error, InputError) or blames_machine(error) or ran_out(error):
        return False
    return not any(getattr(cause, "errno", None) in WAYS_OUT for cause, _ in _causes(error))


def ran_out(error: BaseException | None) -> bool:
    """True for an error that says, or comes from one that says, that memory ran out: no file is at fault.

    Readers turn all that a library raises into an InputError, this, too, and keep it as the cause.
    """
    for cause, said in _causes(error):
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM:
            return True
        if any(words in said for words in NO_MEMORY) and "not permitted" not in said:
            return True
    return False


def disk_full(error: BaseException | None) -> BaseException | None:
    """The error that says that a disk is full, where this one says so or comes from one that does."""
    for cause, said in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number in FULL or "no space left on device" in said or "os error 28" in said:
            return cause
    return None


def _causes(error: BaseException | None) -> Iterator[tuple[BaseException, str]]:
    """An error and what it comes from, with what a library says in it; our own sentences name files."""
    while error is not None:
        yield error, "" if isinstance(error, InputError) else str(error).lower()
        error = error.__cause__


def explained(error: BaseException, *, resumes: bool = False) -> str | None:
    """Sentence for an error that is not the program's fault; None for the others.

    resumes: whether what was being done goes on with --resume.
    """
    if ran_out(error):
        return "there is not enough memory for this: close other programs, or ask for less (smaller, fewer)"
    if (full := disk_full(error)) is not None:
        again = "run the same command" + (" with --resume" if resumes else " again")
        return f"the disk is full{_where(full)}: make room and {again}"
    if isinstance(error, InputError):
        return str(error)
    message = str(error)
    if isinstance(error, PermissionError):
        return f"no permission to read or write{_where(error)}: choose another place with --out"
    if isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError)):
        return f"{error.strerror or message}{_where(error)}: move it away and run the same command again"
    if isinstance(error, OSError):
        way_out = WAYS_OUT.get(error.errno or 0)
        return f"{error.strerror or message or type(error).__name__}{_where(error)}" + (
            f": {way_out}" if way_out else ""
        )
    return None


def _where(error: BaseException) -> str:
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return f" ({name})" if name else ""


def printable(text: str) -> str:
    """Text for a terminal: control characters, line ends among them, as escapes like \\x1b."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def missing_package(package: str, what: str) -> MachineError:
    """The sentence for a package of the extra `export` that is not installed."""
    return MachineError(f"{what} needs {package}, which is not installed: {install_hint('export')}")


def install_hint(extra: str) -> str:
    """Command that installs the packages of an extra ('export', 'matting', ...) into this Python.

    By the path of the source tree where vid4d runs from one, else by the packages' own names; never by ours,
    which is on no package index.
    """
    if (CHECKOUT / "pyproject.toml").is_file():
        return f'{_pip()} install -e "{CHECKOUT}[{extra}]"'
    try:
        listed = requires("vid4d") or []
    except PackageNotFoundError:
        listed = []
    marker = re.compile(rf"extra == ['\"]{extra}['\"]")
    packages = [line.partition(";")[0].strip() for line in listed if marker.search(line)]
    return f"{_pip()} install " + " ".join(f'"{package}"' for package in packages or [f".[{extra}]"])


def _pip() -> str:
    """`pip` where the shell's is this Python's, else this Python with its module."""
    pip, python = shutil.which("pip"), Path(sys.executable)
    if pip and Path(pip).parent == python.parent:
        return "pip"
    return f"{python} -m pip"
