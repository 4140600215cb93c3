"""What else may supervise a fit, beside the pictures of its image matrix."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.model import Gaussians4D


@runtime_checkable
class Guide(Protocol):
    """Another loss of a fit, beside that of its pictures: from a prior, say.

    identity: hash of everything that it depends on, for checkpoints.
    """

    @property
    def identity(self) -> str: ...

    def __call__(
        self, gaussians: Gaussians4D, step: int
    ) -> tuple[Float[Tensor, ""], Bool[Tensor, " n"]] | None:
        """The loss at a step, and mask of the splats that it shows; None where it leaves the step out."""
        ...
