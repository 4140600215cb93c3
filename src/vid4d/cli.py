"""The command line: `vid4d COMMAND`, which dispatches to `vid4d.commands`.

Nothing heavy is imported at module level, so that `vid4d --help` answers at once.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress

import tyro

from vid4d import __version__
from vid4d.commands.app import App
from vid4d.commands.batch import Batch
from vid4d.commands.completion import Completion
from vid4d.commands.enhance import Enhance
from vid4d.commands.evaluate import Evaluate
from vid4d.commands.export import Export
from vid4d.commands.generate import Generate
from vid4d.commands.help import plain_help
from vid4d.commands.info import Info
from vid4d.commands.matrix import Matrix
from vid4d.commands.prepare import Prepare
from vid4d.commands.reconstruct import Reconstruct
from vid4d.commands.render import Render
from vid4d.commands.train import Train
from vid4d.commands.usage import usage_sentence
from vid4d.commands.view import View
from vid4d.commands.weights import Weights
from vid4d.errors import InputError, explained, printable

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "800")
"""Before torch is imported. OpenMP workers that spin while they wait make everything many times slower where
other programs want the cores; not to spin at all makes a fit slower where none does."""

os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
"""Apple's GPUs: what torch does not have for them is done on the processor."""

DESCRIPTION = """Turns an ordinary video of one moving object into a 4D asset: a thing you can look at
from every side at every moment.

Every command takes --help, and --traceback to show where an error came from."""


_STYLE = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.SuppressFixed,
    tyro.conf.DisallowNone,  # an option that is not given is None; nobody types it
)
Command = (
    Generate
    | Batch
    | Prepare
    | Matrix
    | Reconstruct
    | Render
    | View
    | App
    | Export
    | Enhance
    | Evaluate
    | Weights
    | Train
    | Info
    | Completion
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 when done, 2 for bad input (one sentence), 130 when stopped by Ctrl-C.

    SIGTERM and SIGHUP (its terminal was closed) go the way of Ctrl-C, what is unfinished being removed, and
    exit with 143 and 129.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the name of a file, it can be printed
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in arguments
    arguments = [a for a in arguments if a != "--traceback"]
    if not arguments:
        arguments = ["--help"]
    with _terminable():
        _dispatch(arguments, show_traceback)


class Terminated(KeyboardInterrupt):
    """A signal that ends the process. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _terminable() -> Iterator[None]:
    """Raises `Terminated` at SIGTERM and SIGHUP, which otherwise end a process without cleaning up.

    One that is ignored (nohup) stays so.
    """

    def stop(number: int, _: object) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _dispatch(arguments: list[str], show_traceback: bool) -> None:
    try:
        if arguments[0] == "--version":
            print(f"vid4d {__version__}")
        else:
            _command(arguments).run()
    except KeyboardInterrupt as stop:
        if show_traceback:
            traceback.print_exc()
        _say(f"stopped{_how_to_resume(arguments)}")
        raise SystemExit(128 + stop.number if isinstance(stop, Terminated) else 130) from None
    except BrokenPipeError:
        raise SystemExit(141) from None
    except Exception as error:
        sentence = explained(error, resumes=_resumes(arguments))
        if sentence is None or show_traceback:
            traceback.print_exc()
        if sentence is None:
            raise SystemExit(1) from None
        _say(sentence)
        raise SystemExit(2) from None


def _command(arguments: list[str]) -> Command:
    """The command with its options. Raises InputError for arguments that it does not take."""
    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False
    said = io.StringIO()
    try:
        with plain_help(), redirect_stderr(said):
            return tyro.cli(  # type: ignore[call-overload,no-any-return]
                Command, prog="vid4d", description=DESCRIPTION, args=arguments, config=_STYLE
            )
    except SystemExit as stop:
        if stop.code == 2 and (sentence := usage_sentence(said.getvalue(), arguments)):
            raise InputError(sentence) from None
        print(said.getvalue(), end="", file=sys.stderr)
        raise


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be closed
        print(f"vid4d: {printable(text)}", file=sys.stderr, flush=True)


def _resumes(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in ("generate", "matrix", "reconstruct", "enhance")


def _how_to_resume(arguments: Sequence[str]) -> str:
    if arguments[0] == "batch":
        return "; the same command goes on"
    if not _resumes(arguments):
        return ""
    again = [a for a in arguments if a not in ("--resume", "-r")]
    return f"; continue with: {shlex.join(['vid4d', *again, '--resume'])}"


if __name__ == "__main__":
    main()
