"""The command of a task: an argument list and an environment, with a container or without.

Pure functions: what they compose is shown by ``submit --dry-run`` and frozen in tests. Nothing is
ever passed through a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbench.cluster.plan import Task
from ddbench.cluster.profile import Container, Profile
from ddbench.errors import BadInput

_POISON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")
"""Variables of the submitting shell that would change what Python code a run loads."""
_PASSED = ("CUDA_VISIBLE_DEVICES", "TMPDIR", "LANG", "TZ", "DDBENCH_CHECKPOINT_SECONDS")
"""Variables of the job that a run in a container needs."""


@dataclass(frozen=True)
class Place:
    """Where a task runs.

    Attributes:
        submission: folder of the submission.
        results, data, cache: absolute paths; the same inside a container.
        python: interpreter outside a container.
        code, image: digests that the run is to have.
        job: as Slurm names it.
        runtime: program that starts containers.
        drop_caps: capabilities that root lacks on this machine.
    """

    submission: str
    results: str
    data: str
    cache: str
    python: str
    code: str
    image: str = ""
    job: str = ""
    restarts: int = 0
    runtime: str = "apptainer"
    drop_caps: str = ""


def arguments(task: Task, profile: Profile, place: Place) -> list[str]:
    """What follows ``ddbench``."""
    shard = ["--shard", task.shard] if task.shard else []
    return [
        "run", f"{place.submission}/{task.recipe}", "--seeds", str(task.seed),
        "--stages", ",".join(task.stages), *shard, "--results", place.results,
        "--device", profile.device_of(task.stages[0]), "--json",
    ]  # fmt: skip


def command(
    task: Task,
    profile: Profile,
    place: Place,
    environment: Mapping[str, str],
    *,
    inputs: Sequence[Path] = (),
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of the process that does a task.

    Args:
        environment: of the job.
        inputs: what the recipe names outside the folders of data and results.

    Raises:
        BadInput: a path that a container cannot be given.
    """
    own = _variables(task, profile, place, environment)
    program = arguments(task, profile, place)
    if profile.container is None:
        kept = {name: text for name, text in environment.items() if name not in _POISON}
        code = {"PYTHONPATH": f"{place.submission}/code", "PYTHONSAFEPATH": "1"}
        return [place.python, "-m", "ddbench", *program], kept | own | code
    passed = {name: environment[name] for name in _PASSED if name in environment} | own
    kept = {n: t for n, t in environment.items() if not n.startswith(("APPTAINER", "SINGULARITY"))}
    doubled = {
        f"{prefix}ENV_{name}": text
        for prefix in ("APPTAINER", "SINGULARITY")
        for name, text in passed.items()
    }
    return [*_exec(task, profile, profile.container, place, inputs), *program], kept | doubled


def _variables(
    task: Task, profile: Profile, place: Place, environment: Mapping[str, str]
) -> dict[str, str]:
    """Variables of the run, the same in a container and outside."""
    cpus = environment.get("SLURM_CPUS_PER_TASK") or str(profile.resources(task.stages[0]).cpus)
    own = {
        "DDBENCH_DATA": place.data,
        "DDBENCH_CACHE": place.cache,
        "DDBENCH_CODE": place.code,
        "DDBENCH_JOB": place.job,
        "DDBENCH_RESTARTS": str(place.restarts),
        "OMP_NUM_THREADS": cpus,
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if profile.container is not None:
        own["DDBENCH_IMAGE"] = f"{Path(profile.container.image).name} sha256:{place.image}"
        own["SLURM_CLUSTER_NAME"] = environment.get("SLURM_CLUSTER_NAME", "")
    return own | profile.environment


def _exec(
    task: Task, profile: Profile, container: Container, place: Place, inputs: Sequence[Path]
) -> list[str]:
    gpus = ["--nv"] if profile.device_of(task.stages[0]) == "cuda" else []
    caps = ["--drop-caps", place.drop_caps] if place.drop_caps else []
    own = [(place.results, "rw"), (place.cache, "rw"), (place.data, "ro")]
    named = [(str(path), "ro") for path in inputs]
    wanted = [*own, *((path, mode) for path, mode in named if not _below(path, own))]
    binds = [f"{_bindable(path)}:{path}:{mode}" for path, mode in dict.fromkeys(wanted)]
    return [
        place.runtime, "exec", *gpus, *caps, "--cleanenv", "--no-home", "--pwd", place.results,
        *(word for bind in [*binds, *container.binds] for word in ("--bind", bind)),
        container.image, "ddbench",
    ]  # fmt: skip


def _below(path: str, bound: Sequence[tuple[str, str]]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder, _ in bound)


def _bindable(path: str) -> str:
    if "," in path or ":" in path:
        raise BadInput("commas and colons separate binds of a container", file=path,
                       allowed="a path without them")  # fmt: skip
    return path


def visible_gpus(environment: Mapping[str, str], local_rank: int, ranks: int) -> str | None:
    """``CUDA_VISIBLE_DEVICES`` of one of ``ranks`` tasks on a node.

    Slurm shows all of the job's GPUs to each of its tasks unless the site binds them; a task that
    sees one per rank takes its own. None: as it is.
    """
    devices = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if ranks == 1 or len(devices) < ranks:
        return None
    share = len(devices) // ranks
    return ",".join(devices[local_rank * share : (local_rank + 1) * share])
