"""A fixed number of threads for what adds up in an order that depends on it.

A mean over a picture, some convolutions, a least-squares fit and a video encoder cut their work into as many
parts as there are threads, and the last digits of a float32 sum follow from where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 4
"""Of what a run computes, on however many cores: where there are fewer, the operating system shares them out.

Part of what a run makes: another number is other bytes for the same seed.
"""

_outside: list[int] = []
"""Torch's threads outside of the blocks of `fixed_threads` that were entered, outermost first."""


@contextmanager
def fixed_threads() -> Iterator[None]:
    """A block (or a function, as a decorator) that computes in `THREADS` threads: torch, and NumPy's BLAS."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    _outside.append(before)
    try:
        with threadpool_limits(limits=THREADS, user_api="blas"):
            torch.set_num_threads(THREADS)
            yield
    finally:
        _outside.pop()
        torch.set_num_threads(before)


def free_threads() -> int:
    """Threads for work whose result does not depend on them: as many as cores, or as OMP_NUM_THREADS says."""
    import torch

    return _outside[0] if _outside else torch.get_num_threads()
