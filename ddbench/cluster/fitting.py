"""Whether runs fit what a profile asks for: lower bounds against limits, before anything queues."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbench.cluster.profile import STAGES, Profile, bytes_of
from ddbench.errors import BadInput
from ddbench.estimates import LIBRARIES, Estimate, estimate, lower_bound
from ddbench.progress import clock
from ddbench.recipe import Recipe


@dataclass(frozen=True)
class Misfit:
    """A limit of the profile that a recipe cannot keep, whatever happens."""

    field: str
    needs: str
    has: str

    def __str__(self) -> str:
        return f"needs at least {self.needs} of {self.field}, the profile gives {self.has}"


def misfits(recipe: Recipe, profile: Profile) -> list[Misfit]:
    """Limits that the lower bound of one run exceeds.

    A run may be cut off and go on, so that its time is compared with all starts together.
    """
    least = lower_bound(recipe, profile.resources("distill").cpus)
    return list(dict.fromkeys(_misfits(least, profile)))


def _misfits(least: Estimate, profile: Profile) -> Iterator[Misfit]:
    on_gpu = profile.device_of("distill") == "cuda"
    for stage in STAGES:
        asked = profile.resources(stage)
        needed = LIBRARIES // 2 if on_gpu else least.cpu_memory
        share = bytes_of(asked.memory) // asked.tasks_per_node if asked.memory else needed
        if needed > share:
            yield Misfit("memory", gigabytes(needed), gigabytes(share))
    if on_gpu and profile.gpu_memory and least.gpu_memory > bytes_of(profile.gpu_memory):
        has = gigabytes(bytes_of(profile.gpu_memory))
        yield Misfit("gpu_memory", gigabytes(least.gpu_memory), has)
    seconds = least.gpu_seconds if on_gpu else least.cpu_seconds
    limit = sum(profile.resources(stage).time for stage in STAGES) * 60 * (profile.restarts + 1)
    if seconds > limit:
        yield Misfit("time", clock(seconds), f"{clock(limit)} over all restarts")


def check(recipes: Sequence[Recipe], profile: Profile, *, refuse: bool = True) -> None:
    """Refuse recipes that cannot fit the profile.

    Raises:
        BadInput: with the numbers of the first one that does not.
    """
    for recipe in recipes if refuse else ():
        found = misfits(recipe, profile)
        if found:
            raise BadInput(f"{found[0]} (lower bounds, see 'ddbench check')",
                           file=recipe.name, field=found[0].field,
                           allowed="a larger profile, a smaller recipe, or --no-check")  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """What runs take in all.

    Attributes:
        hours: of ``unit``: GPUs, or processors where none are asked for.
        disk: bytes of results; ``free``: what there is.
    """

    runs: int
    hours: float
    unit: str
    disk: int
    free: int


def costs(runs: Sequence[tuple[Recipe, int]], profile: Profile, results: Path) -> Costs:
    """Estimates for what is left: each recipe with the number of its seeds."""
    on_gpu = profile.device_of("distill") == "cuda"
    seconds = disk = 0.0
    for recipe, count in runs:
        one = estimate(recipe)
        on_cpu = one.cpu_seconds * (os.cpu_count() or 1)
        seconds += count * (one.gpu_seconds if on_gpu else on_cpu)
        disk += count * one.disk
    existing = next(p for p in (results, *results.absolute().parents) if p.exists())
    return Costs(
        sum(count for _, count in runs), seconds / 3600, "GPU" if on_gpu else "processor",
        int(disk), shutil.disk_usage(existing).free,
    )  # fmt: skip


def gigabytes(count: float) -> str:
    """``1.5 GiB``: Slurm's units."""
    return f"{count / 2**30:.2g} GiB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GiB"
