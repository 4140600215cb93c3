"""The one exception that means: the input is at fault, not the program."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def missing_package(package: str, what: str) -> InputError:
    """The sentence for a package of the extra `export` that is not installed."""
    return InputError(f"{what} needs {package}, which is not installed: pip install 'vid4d[export]'")
