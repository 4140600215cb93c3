"""What hands clips to workers: nothing (one process), Ray, or SLURM through submitit; their options."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, Literal

from vid4d.errors import InputError, install_hint

EngineName = Literal["none", "ray", "slurm", "local"]
PACKAGES = {"ray": ("ray", "ray"), "slurm": ("submitit", "slurm"), "local": ("submitit", "slurm")}
"""Engine -> what has to be imported, and the extra that installs it."""
USES: dict[EngineName, frozenset[str]] = {
    "none": frozenset(),
    "ray": frozenset({"workers", "cpus", "gpus", "address"}),
    "slurm": frozenset({"workers", "cpus", "gpus", "minutes", "job"}),
    "local": frozenset({"workers", "cpus", "gpus", "minutes", "job"}),
}
"""Engine -> the options that have an effect on it."""


def installed(package: str) -> bool:
    """Test for a package, and not only a folder of its name on the path."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


@dataclass(frozen=True)
class Engine:
    """Engine and its workers.

    workers: actors of Ray, or jobs. cpus, gpus: of each; of Ray's GPUs a fraction will do. minutes: of a
    job. address: of a Ray cluster; '' starts one on this machine. job: more parameters of a job,
    'name=value' in submitit's words ('slurm_partition=gpu').
    """

    name: EngineName = "none"
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    minutes: int = 1440
    address: str = ""
    job: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether its workers are processes of this machine."""
        return self.name in ("none", "local") or (self.name == "ray" and not self.address)

    def check(self, limit: int | None) -> None:
        """Raises InputError for what cannot be, and for options that would have no effect."""
        for option in fields(self):
            unused = option.name not in USES[self.name] and option.name != "name"
            if unused and getattr(self, option.name) != option.default:
                users = [name for name, used in USES.items() if option.name in used]
                raise InputError(
                    f"--{option.name} has no effect with --engine {self.name}: name another engine "
                    f"({', '.join(users)}), or leave it out"
                )
        if self.workers < 1 or self.minutes < 1:
            raise InputError("--workers and --minutes of less than 1 make nothing: give more")
        if not (0 < self.cpus < math.inf and 0 <= self.gpus < math.inf):
            raise InputError(
                f"{self.cpus:g} cores and {self.gpus:g} GPUs a worker cannot be: give other numbers"
            )
        if self.name in ("slurm", "local"):
            if limit is not None:
                raise InputError("--limit counts clips in one process: leave it out with jobs")
            if self.cpus != int(self.cpus) or self.gpus != int(self.gpus):
                raise InputError("a job has whole cores and GPUs: give whole numbers, or use --engine ray")
        self.parameters()
        if self.name != "none":
            package, extra = PACKAGES[self.name]
            if not installed(package):
                raise InputError(
                    f"--engine {self.name} needs {package}, which is not installed: {install_hint(extra)}"
                )

    def parameters(self) -> dict[str, Any]:
        """`job` as a dictionary, whole numbers as such. Raises InputError for what is no 'name=value'."""
        found: dict[str, Any] = {}
        for said in self.job:
            name, equals, value = said.partition("=")
            if not equals or not name.isidentifier():
                raise InputError(f"--job {said} is no parameter: give name=value, as slurm_partition=gpu")
            found[name] = int(value) if value.isdecimal() else value
        return found
