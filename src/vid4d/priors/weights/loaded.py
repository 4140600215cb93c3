"""Networks that are loaded once in a process, where one makes many clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from vid4d.errors import machine_at_fault

P = ParamSpec("P")
T = TypeVar("T")

_kept: dict[tuple[str, ...], Any] | None = None
"""What was loaded in the block that is being executed; None outside of one."""


@contextmanager
def networks_kept() -> Iterator[None]:
    """A block in which the loaders that are `loaded_once` give what they gave before for the same arguments.

    Of an inner block the outer one keeps the networks; at the end of the outermost they are let go.
    """
    global _kept
    before = _kept
    _kept = {} if before is None else before
    try:
        yield
    finally:
        _kept = before


def loaded_once(load: Callable[P, T]) -> Callable[P, T]:
    """A loader, as a decorator, whose networks a block of `networks_kept` keeps. Nobody may change them.

    Its InputErrors become MachineErrors: weights that cannot be loaded are no clip's fault.
    """
    parameters = signature(load)

    @wraps(load)
    def loading(*args: P.args, **kwargs: P.kwargs) -> T:
        if _kept is None:
            with machine_at_fault():
                return load(*args, **kwargs)
        bound = parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        key = (load.__module__, load.__qualname__, *(f"{k}={v}" for k, v in bound.arguments.items()))
        if key not in _kept:
            with machine_at_fault():
                _kept[key] = load(*args, **kwargs)
        return _kept[key]  # type: ignore[no-any-return]

    return loading
