"""Cluster profiles: everything about a site, in one YAML file that no recipe knows of.

What is asked of Slurm can differ by stage; ``Profile.resources`` merges. Paths in a profile are
relative to its file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from ddbench.errors import BadInput, unknown
from ddbench.spec import Spec, read_yaml

Stage = Literal["experts", "distill", "evaluate"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Mail = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "ALL"]

_TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d{1,3}):(?P<m>\d{2}):(?P<s>\d{2})")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_OWN_OPTIONS = {
    "array", "chdir", "clusters", "dependency", "error", "export", "input", "job-name",
    "kill-on-invalid-dep", "no-requeue", "open-mode", "output", "parsable", "requeue",
    "signal", "test-only", "wait", "wrap",
}  # fmt: skip
"""Options of sbatch that a submission sets itself or cannot work without."""


_WORDS_OF_FIELDS = {
    "cpus-per-task", "gpus-per-node", "mail-type", "mail-user", "mem", "ntasks", "ntasks-per-node",
}  # fmt: skip


def minutes(value: object) -> object:
    """A time limit in minutes, rounded up: ``90``, ``01:30:00`` or ``1-12:00:00``.

    ``10:30`` is refused: Slurm reads it as minutes and seconds, people as hours and minutes.

    Raises:
        ValueError: another form.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _TIME.fullmatch(str(value).strip())
    most_hours = 23 if found and found["d"] else 999
    if found is None or int(found["h"]) > most_hours or max(int(found[p]) for p in "ms") > 59:
        raise ValueError(f"found {value!r}; allowed: minutes (90), HH:MM:SS or D-HH:MM:SS")
    days, hours, mins, seconds = (int(found[part] or 0) for part in "dhms")
    return (days * 24 + hours) * 60 + mins + (seconds > 0)


def bytes_of(text: str) -> int:
    """``32G`` in bytes, with Slurm's units of 1024."""
    return int(float(text[:-1]) * _UNITS[text[-1]])


def _printable(value: str) -> str:
    """Text that fits on one line of a batch script."""
    if not value or not value.isprintable():
        raise ValueError(f"found {value!r}; allowed: printable text on one line")
    return value


Minutes = Annotated[int, BeforeValidator(minutes), Field(ge=1)]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[KMGT]$")]
Word = Annotated[str, AfterValidator(_printable)]


class StageResources(Spec):
    """What one stage asks for where it differs from the profile; null = as the profile."""

    partition: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    gres: Word | None = None
    gpus: int | None = Field(None, ge=0)
    cpus: int | None = Field(None, ge=1)
    memory: Memory | None = None
    time: Minutes | None = None
    nodes: int | None = Field(None, ge=1)
    tasks_per_node: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    signal_delay: int | None = Field(None, ge=5, le=3600)


class Resources(Spec):
    """What one job asks for."""

    partition: Word | None = Field(None, description="null = the cluster's default")
    qos: Word | None = None
    constraint: Word | None = Field(None, description="features a node must have")
    gres: Word | None = Field(None, description="generic resources per node, such as gpu:a100:1")
    gpus: int = Field(0, ge=0, description="GPUs per node of any type")
    cpus: int = Field(1, ge=1, description="processors per task; the threads of a run")
    memory: Memory | None = Field(None, description="per node, such as 16G; null = the default")
    time: Minutes = Field(60, description="limit of one job: minutes, HH:MM:SS or D-HH:MM:SS")
    nodes: int = Field(1, ge=1, description="nodes of one job")
    tasks_per_node: int = Field(1, ge=1, description="runs side by side on a node, one per GPU")
    concurrency: int = Field(32, ge=1, description="jobs of one array at a time")
    signal_delay: int = Field(
        120, ge=5, le=3600, description="seconds before the time limit to save and make room"
    )

    @model_validator(mode="after")
    def _time_to_save(self) -> Self:
        if self.signal_delay > self.time * 30:
            raise BadInput(
                f"{self.signal_delay} s is more than half of the limit of {self.time} min",
                field="signal_delay", allowed=f"5 to {self.time * 30}",
            )  # fmt: skip
        return self

    @property
    def ranks(self) -> int:
        """Runs that one job does side by side."""
        return self.nodes * self.tasks_per_node

    @property
    def gpus_per_node(self) -> int:
        """GPUs that are asked for, by ``gpus`` or by ``gres``."""
        named = [part.split(":") for part in (self.gres or "").split(",")]
        counts = [part[-1] for part in named if part[0] == "gpu"]
        return self.gpus + sum(int(count) if count.isdigit() else 1 for count in counts)


class Container(Spec):
    """The image that runs happen in."""

    image: Word = Field(description="a .sif file")
    runtime: Literal["auto", "apptainer", "singularity"] = "auto"
    binds: list[Word] = Field(
        default=[], description="further SOURCE:TARGET[:ro]; data, cache and results always are"
    )

    @field_validator("binds")
    @classmethod
    def _bind_forms(cls, value: list[str]) -> list[str]:
        for bind in value:
            parts = bind.split(":")
            absolute = len(parts) >= 2 and all(part.startswith("/") for part in parts[:2])
            if "," in bind or not absolute or parts[2:] not in ([], ["ro"], ["rw"]):
                raise BadInput(f"found '{bind}'", field="container.binds",
                               allowed="/SOURCE:/TARGET or /SOURCE:/TARGET:ro")  # fmt: skip
        return value


class Profile(Resources):
    """A site: how jobs are asked for there and what they run in. See docs/cluster.md."""

    scheduler: Literal["slurm", "local"] = "slurm"
    account: Word | None = None
    wckey: Word | None = None
    mail: Word | None = Field(None, description="address that Slurm writes to")
    mail_on: list[Mail] = Field(default=["END", "FAIL"], description="what it writes about")
    max_array: int = Field(1000, ge=1, description="elements of one array (MaxArraySize - 1)")
    restarts: int = Field(100, ge=0, description="how often a job may be started again")
    extra: dict[str, str | int | bool] = Field(default={}, description="further sbatch options")
    modules: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._/+-]+$")]] = Field(
        default=[], description="loaded in the job"
    )
    environment: dict[str, str] = Field(default={}, description="variables of the runs")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: cuda where GPUs are asked for, else cpu"
    )
    gpu_memory: Memory | None = Field(None, description="of one GPU here; checked before queueing")
    container: Container | None = None
    stages: dict[Stage, StageResources] = Field(default={}, description="where a stage differs")

    @field_validator("extra")
    @classmethod
    def _foreign_options(cls, value: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        fields = {name.replace("_", "-") for name in cls.model_fields} | _WORDS_OF_FIELDS
        for name, text in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise BadInput(f"'{name}' is no option", field="extra", allowed="long options")
            if name in _OWN_OPTIONS | fields:
                raise BadInput("is set by the submission or by a field of its own",
                               field=f"extra.{name}")  # fmt: skip
            try:
                _printable(str(text))
            except ValueError as error:
                raise BadInput(str(error), field=f"extra.{name}") from None
        return value

    @field_validator("environment")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise BadInput(f"'{name}' is no variable's name", field="environment")
            if name == "CUDA_VISIBLE_DEVICES":
                raise BadInput("is Slurm's to set", field=f"environment.{name}")
        return value

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for stage in STAGES:
            try:
                self.resources(stage)
            except BadInput as error:
                raise error.at(prefix=f"stages.{stage}") from None
        if self.scheduler == "local" and max(self.resources(s).ranks for s in STAGES) > 1:
            raise BadInput(
                "the local scheduler starts one run at a time per job", field="tasks_per_node",
                allowed="1; concurrency sets how many jobs",
            )  # fmt: skip
        return self

    def resources(self, stage: Stage) -> Resources:
        """What a job of a stage asks for."""
        own = {name: getattr(self, name) for name in Resources.model_fields}
        over = self.stages.get(stage, StageResources()).model_dump(exclude_none=True)
        return Resources.parse(own | over)

    def device_of(self, stage: Stage) -> str:
        """The ``--device`` of runs of a stage."""
        if self.device != "auto":
            return self.device
        return "cuda" if self.resources(stage).gpus_per_node else "cpu"


def shipped_folder() -> Path:
    """``slurm/`` of this checkout."""
    return Path(__file__).resolve().parent.parent.parent / "slurm"


def shipped() -> dict[str, Path]:
    """Shipped profiles by name."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.yaml"))}


def read(name: str, *, image: str | None = None) -> Profile:
    """A profile by path or shipped name.

    Args:
        image: an image in place of the profile's; ``none`` = no container.

    Raises:
        BadInput: with the file and the field.
    """
    path = shipped().get(name, Path(name))
    if not path.is_file():
        if "/" not in name and not path.suffix:
            raise unknown("cluster profile", name, list(shipped()), field="--cluster")
        raise BadInput("no such cluster profile", file=name, allowed=", ".join(shipped()))
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"expected a mapping of fields, found {type(data).__name__}", file=path)
    return _with_image(Profile.parse(data, file=path), image, path)


def _with_image(profile: Profile, image: str | None, file: Path) -> Profile:
    """The profile with the full path of its image, or of the one given instead."""
    if image == "none":
        return profile.model_copy(update={"container": None})
    if image is not None:
        found, field = Path(image).expanduser().absolute(), "--image"
        container = (profile.container or Container(image=image)).model_copy()
    elif profile.container is not None:
        found, field = file.absolute().parent / Path(profile.container.image).expanduser(), ""
        container = profile.container
    else:
        return profile
    if not found.is_file():
        raise BadInput(f"there is no image '{found}'", file=None if field else file,
                       field=field or "container.image",
                       allowed="a .sif file; containers/build.sh makes one")  # fmt: skip
    container = container.model_copy(update={"image": str(found.resolve())})
    return profile.model_copy(update={"container": container})
