"""Gaussians4D: splats in space and time, their slices, and the asset file.

Source: 4D Gaussian Splatting (2310.10642, section 4; 2412.20720). A splat is a Gaussian over (x, y, z, t)
with an opacity and a color in spherical harmonics, optionally times a Fourier series in time. At one time it
is an ordinary 3D Gaussian. World units and axes as in `vid4d.cameras`, time in [0, 1] over the clip.

In a loop time 1 is time 0, and a splat is as far away in time as the shorter way round the loop is long.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor

from vid4d.errors import InputError
from vid4d.files.checkpoints import open_tensors
from vid4d.files.records import LONGEST, SHORTEST, checked
from vid4d.files.write import written_whole
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.metadata import CONSTANTS, AssetMetadata

MARGINAL_CUT = 0.05
"""A splat whose temporal marginal is below this is not there at that time (2310.10642, code)."""

LONGEST_IN_LOOP = 0.2
"""Standard deviation in time, shares of a loop; half a loop away the marginal is 0.044, under the cut."""

FORMAT = "vid4d-gaussians"
FORMAT_VERSION = "1"


@dataclass(frozen=True)
class Gaussians3D:
    """Splats at one time.

    means: world. covariances: world units squared, symmetric. opacities: in [0, 1].
    sh: spherical harmonics as in `vid4d.gaussians.sh`, K = (degree + 1)^2.
    """

    means: Float[Tensor, "n 3"]
    covariances: Float[Tensor, "n 3 3"]
    opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n k 3"]

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        got = [tuple(getattr(self, f.name).shape) for f in fields(self)]
        if got[:3] != [(n, 3), (n, 3, 3), (n,)] or len(got[3]) != 3 or (got[3][0], got[3][2]) != (n, 3):
            raise ValueError(f"shapes {got}, expected (n, 3), (n, 3, 3), (n,) and (n, k, 3)")
        harmonics.degree_of(self.sh.shape[1])

    def __len__(self) -> int:
        return self.means.shape[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians3D:
        return Gaussians3D(**{f.name: getattr(self, f.name).to(device, dtype) for f in fields(self)})


# Left and right multiplication of a quaternion (w, x, y, z), linear in it: row i, column j of component q.
_LEFT = (
    *((1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)),
    *((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, -1), (0, 0, 1, 0)),
    *((0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (0, -1, 0, 0)),
    *((0, 0, 0, 1), (0, 0, -1, 0), (0, 1, 0, 0), (1, 0, 0, 0)),
)
_RIGHT = (
    *((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    *((0, -1, 0, 0), (1, 0, 0, 0), (0, 0, 0, -1), (0, 0, 1, 0)),
    *((0, 0, -1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (0, -1, 0, 0)),
    *((0, 0, 0, -1), (0, 0, -1, 0), (0, 1, 0, 0), (1, 0, 0, 0)),
)


def rotation4d(left: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4 4"]:
    """Rotation L(l) R(r) of (x, y, z, t) by two quaternions (w, x, y, z), which need not have unit length.

    The map is v -> l v conj(r) on v = t + z i + y j + x k: the axes run backwards as in the code of
    2310.10642. Equal quaternions rotate space alone; both (1, 0, 0, 0): identity.
    """
    unit_left = torch.nn.functional.normalize(left, dim=-1)
    unit_right = torch.nn.functional.normalize(right, dim=-1)
    products = (unit_left[:, :, None] * unit_right[:, None, :]).flatten(1)
    return (products @ _rotation_basis(left.dtype, left.device)).view(-1, 4, 4)


@functools.cache
def _rotation_basis(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "16 16"]:
    """L(l) R(r) is linear in the 16 products of their components: row (p, q) is the matrix of l_p r_q."""
    with torch.inference_mode(False):  # it is kept, and a later call may need gradients
        left = torch.tensor(_LEFT, dtype=dtype).view(4, 4, 4)
        right = torch.tensor(_RIGHT, dtype=dtype).view(4, 4, 4)
        # flip: entry (i, j) in reversed axes is (3 - i, 3 - j) of the usual matrix.
        return torch.einsum("ijp,jkq->pqik", left, right).flip(2, 3).reshape(16, 16).to(device)


@dataclass(frozen=True)
class Gaussians4D:
    """N splats over space and time; all tensors are free parameters of a fit.

    means: x, y, z (world) and t (clip time, [0, 1]; may lie outside).
    log_scales: logarithms of the standard deviations along the rotated x, y, z, t.
    quats_left, quats_right: the rotation in 4D, see `rotation4d`.
    opacity_logits: opacity = sigmoid.
    sh: coefficients (K = (degree + 1)^2 harmonics, F Fourier terms, RGB); term f is multiplied with
        cos(2 pi f (time - t) / period), so F = 1 is color constant in time.
    period: of the Fourier series, in clip time.
    cyclic: the clip is a loop, see `time_from`. Half a loop away from its own time a splat that moves jumps
        from the end of its path to the beginning. Nobody sees that of splats whose standard deviation in time
        is at most LONGEST_IN_LOOP: they are not there at that time.
    """

    means: Float[Tensor, "n 4"]
    log_scales: Float[Tensor, "n 4"]
    quats_left: Float[Tensor, "n 4"]
    quats_right: Float[Tensor, "n 4"]
    opacity_logits: Float[Tensor, " n"]
    sh: Float[Tensor, "n k f 3"]
    period: float = 1.0
    cyclic: bool = False

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        for name in ("means", "log_scales", "quats_left", "quats_right"):
            if getattr(self, name).shape != (n, 4):
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}, expected ({n}, 4)")
        if self.opacity_logits.shape != (n,):
            raise ValueError(f"opacity_logits has shape {tuple(self.opacity_logits.shape)}, expected ({n},)")
        if self.sh.ndim != 4 or self.sh.shape[0] != n or self.sh.shape[2] < 1 or self.sh.shape[3] != 3:
            raise ValueError(f"sh has shape {tuple(self.sh.shape)}, expected ({n}, k, f, 3)")
        harmonics.degree_of(self.sh.shape[1])

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        return harmonics.degree_of(self.sh.shape[1])

    @property
    def fourier_terms(self) -> int:
        return self.sh.shape[2]

    @property
    def opacities(self) -> Float[Tensor, " n"]:
        return self.opacity_logits.sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by field name: what an optimiser or a checkpoint needs."""
        return {name: getattr(self, name) for name in TENSORS}

    def map(self, function: Callable[[Tensor], Tensor]) -> Gaussians4D:
        """Splats with a function applied to every parameter tensor."""
        values = {name: function(value) for name, value in self.tensors().items()}
        return Gaussians4D(**values, period=self.period, cyclic=self.cyclic)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians4D:
        return self.map(lambda x: x.to(device, dtype))

    def detach(self) -> Gaussians4D:
        return self.map(lambda x: x.detach())

    def trainable(self) -> Gaussians4D:
        """Detached copies of all parameters that collect gradients."""
        return self.map(lambda x: x.detach().clone().requires_grad_())

    def select(self, keep: Bool[Tensor, " n"] | Tensor) -> Gaussians4D:
        """The splats of a mask or of a list of indices."""
        return self.map(lambda x: x[keep])

    @staticmethod
    def cat(parts: Sequence[Gaussians4D]) -> Gaussians4D:
        """Joins splats of one harmonic degree, number of Fourier terms and period, all of loops or none."""
        kinds = {(p.sh.shape[1], p.sh.shape[2], p.period, p.cyclic) for p in parts}
        if len(kinds) != 1:
            raise ValueError(
                f"splats that differ in (harmonics, Fourier terms, period, cyclic) cannot be joined: {kinds}"
            )
        joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in TENSORS}
        return Gaussians4D(**joined, period=parts[0].period, cyclic=parts[0].cyclic)

    def covariance4d(self) -> Float[Tensor, "n 4 4"]:
        """R S S^T R^T over (x, y, z, t) (2310.10642, equation 8)."""
        factor = rotation4d(self.quats_left, self.quats_right) * self.log_scales.exp()[:, None, :]
        return factor @ factor.transpose(1, 2)

    def at(self, time: float | Tensor) -> Gaussians3D:
        """The 3D Gaussians at a clip time: all N of them, opacity 0 where the marginal is below 0.05.

        Source: 2310.10642, equations 9 to 12.
        """
        covariances = self.covariance4d()
        return slice_at(self.means, covariances, self.opacities, self.sh, time, self.period, self.cyclic)

    def marginal(self, time: float | Tensor) -> Float[Tensor, " n"]:
        """exp(-(time - t)^2 / (2 S_tt)), before the cut at 0.05; `time_from` in the place of time - t."""
        return marginal_of(time_from(self.means[:, 3], time, self.cyclic), self.covariance4d()[:, 3, 3])


TENSORS = tuple(f.name for f in fields(Gaussians4D) if f.name not in ("period", "cyclic"))
"""Names of the parameters."""

LARGEST = dict.fromkeys(TENSORS, 1e6) | {"log_scales": 80.0}
"""The largest magnitudes that are read; exp(80) and exp(-80) are still float32."""


def time_from(t: Float[Tensor, " n"], time: float | Tensor, cyclic: bool) -> Float[Tensor, " n"]:
    """Clip time from splats at t to a moment: time - t, in a loop the shorter way round: [-1/2, 1/2]."""
    dt = time - t
    return dt - dt.round() if cyclic else dt


def marginal_of(dt: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """`Gaussians4D.marginal` of times from splats and their variances in time."""
    return (-0.5 * dt**2 / variance).exp()


def slice_at(
    means: Float[Tensor, "n 4"],
    covariances: Float[Tensor, "n 4 4"],
    opacities: Float[Tensor, " n"],
    sh: Float[Tensor, "n k f 3"],
    time: float | Tensor,
    period: float,
    cyclic: bool,
) -> Gaussians3D:
    """Conditions 4D Gaussians on a time; see `Gaussians4D.at`."""
    dt = time_from(means[:, 3], time, cyclic)
    # Both halves of the symmetric matrix, so that its gradient is symmetric too.
    cross = (covariances[:, :3, 3] + covariances[:, 3, :3]) / 2
    variance = covariances[:, 3, 3]
    velocity = cross / variance[:, None]
    marginal = marginal_of(dt, variance)
    marginal = torch.where(marginal >= MARGINAL_CUT, marginal, 0)
    order = torch.arange(sh.shape[2], dtype=means.dtype, device=means.device)
    series = torch.cos((2 * math.pi / period) * dt[:, None] * order)
    return Gaussians3D(
        means[:, :3] + velocity * dt[:, None],
        covariances[:, :3, :3] - velocity[:, :, None] * cross[:, None, :],
        opacities * marginal,
        torch.einsum("nf,nkfc->nkc", series, sh) if sh.shape[2] > 1 else sh[:, :, 0],
    )


def save_asset(path: str | Path, gaussians: Gaussians4D, metadata: dict[str, str] | None = None) -> None:
    """Writes splats as safetensors (float32, names of `Gaussians4D`'s fields), whole or not at all.

    metadata: strings, kept beside the format's own keys: `format`, `format_version`, `units`, `up_axis`,
        `front_axis`, `color_space`, `time`, `period`, `cyclic` (`true` for a loop, else `false`), `count`,
        `sh_degree`, `fourier_terms`. Callers add `seconds`, `fps` and `elevation` (`AssetMetadata`), which
        are numbers in decimal notation.
    A reader that takes no notice of `cyclic` shows a loop right but near its ends: loops need no format
    version of their own.
    """
    from safetensors.torch import save

    path = Path(path)
    constants = AssetMetadata()
    values = {name: getattr(constants, name) for name in CONSTANTS} | (metadata or {})
    for key in ("seconds", "fps"):
        if key in values and not _is_duration(values[key]):
            raise InputError(f"metadata {key!r} is {values[key]!r}, expected a positive number as a string")
    values |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "period": repr(float(gaussians.period)),
        "cyclic": "true" if gaussians.cyclic else "false",
        "count": str(len(gaussians)),
        "sh_degree": str(gaussians.sh_degree),
        "fourier_terms": str(gaussians.fourier_terms),
    }
    tensors = {k: v.detach().to("cpu", torch.float32).contiguous() for k, v in gaussians.tensors().items()}
    data = _sorted_header(save(tensors, {str(k): str(v) for k, v in values.items()}))
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; choose another folder")
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; free space or choose another folder"
        ) from error


def _sorted_header(data: bytes) -> bytes:
    """Safetensors bytes with their header's keys sorted: the library writes metadata in random order."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


class _Header(AssetMetadata, frozen=True, kw_only=True):
    period: Annotated[float, Meta(gt=0, le=1e6)]


def load_asset(
    path: str | Path, device: torch.device | str | None = None
) -> tuple[Gaussians4D, dict[str, str]]:
    """Loads an asset's splats and metadata; without `cyclic` it is no loop.

    Raises InputError where the file is missing, foreign or damaged.
    """
    from safetensors import SafetensorError

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no asset at {path}: give the path of an asset.safetensors file")
    try:
        with open_tensors(path) as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}): write it again") from error
    if metadata.get("format") != FORMAT or set(TENSORS) - set(tensors):
        raise InputError(f"{path} holds no 4D Gaussians of this program: give an asset.safetensors file")
    if metadata.get("format_version") != FORMAT_VERSION:
        version = json.dumps(metadata.get("format_version"))
        raise InputError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}: update it"
        )
    header = checked(metadata, _Header, f"{path}: metadata", "write it again", strict=False)
    kept = {name: tensors[name] for name in TENSORS}
    _check_values(kept, path)
    try:
        splats = Gaussians4D(**kept, period=header.period, cyclic=header.cyclic)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): write it again") from error
    if (header.count or len(splats)) != len(splats):
        raise InputError(f"{path} holds {len(splats)} splats but says {header.count}: write it again")
    return splats.to(device), metadata


def _check_values(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises InputError, with the tensor's name, for values that no splats have."""
    for name, value in tensors.items():
        if value.dtype != torch.float32:
            raise InputError(f"{path} has {name} as {value.dtype}, expected torch.float32: write it again")
        if not value.isfinite().all():
            raise InputError(f"{path} has NaN or infinity in {name}: write it again")
        if value.numel() and value.abs().max() > LARGEST[name]:
            raise InputError(
                f"{path} has {float(value.abs().max()):g} in {name}, at most {LARGEST[name]:g} can be: "
                "write it again"
            )


def _is_duration(text: str) -> bool:
    try:
        return SHORTEST <= float(text) <= LONGEST
    except (TypeError, ValueError):
        return False
