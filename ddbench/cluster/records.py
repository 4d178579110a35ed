"""A submission on disk: what was planned, what was queued, how far each task is.

Below the results folder, so that everything about a result lies with it:

    .submissions/<UTC time>-<8 hex digits>/
        plan.json           what was planned; written before anything is queued
        recipes/<n>/*.yaml  the resolved recipes
        code/               the package as it was: this is what the jobs run
        groups/<n>.json     the job of a group, or why it was refused; written after its sbatch
        tasks/<n>.json      how far a task is, as its worker tells it
        logs/<n>.log        what the runs of a task wrote, over all restarts; .out: printed last
        cancelled           is there when the user has cancelled tasks; their numbers, one a line
        jobs/               submitit's own files

Every file is replaced as a whole. Nothing else holds state: who can read the folder knows all.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from ddbench import recipe_files
from ddbench.cluster.plan import After, Group, Plan, Task
from ddbench.cluster.profile import Profile, Resources
from ddbench.errors import BadInput
from ddbench.recipe import Recipe
from ddbench.store.atomic import publish

FOLDER = ".submissions"
LOG_HEAD = "--- "
"""Leads the line that a worker writes into a task's log before every start."""
_SCHEMA = 1
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Header:
    """What all tasks of a submission share.

    Attributes:
        id: the folder's name.
        results, data, cache: absolute paths.
        python: interpreter of the workers, and of the runs where there is no container.
        code: digest of the package.
        cluster: Slurm's name of the cluster; empty for the local scheduler.
        image: SHA-256 of the container image; empty without one.
        inputs: files that recipes name outside the data folder, by recipe.
    """

    id: str
    created: str
    command: list[str]
    host: str
    user: str
    cluster: str
    results: str
    data: str
    cache: str
    python: str
    code: str
    git: str
    version: str
    image: str
    inputs: dict[str, list[str]]
    profile: Profile


@dataclass(frozen=True)
class Progress:
    """How far a task is, as its worker last told.

    Attributes:
        state: ``running``, ``cut off`` (will go on), ``done``, ``failed``, ``cancelled``.
        job: of Slurm, ``12_3``.
        restarts: how often that job was started again.
        idle: starts in a row that left nothing new.
        mark: what the last start left, to see whether the next one gets further.
        kind, reason, advice, tail: of a failure.
    """

    state: str
    job: str = ""
    host: str = ""
    pid: int = 0
    restarts: int = 0
    started: str = ""
    updated: str = ""
    idle: int = 0
    mark: str = ""
    kind: str = ""
    reason: str = ""
    advice: str = ""
    tail: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Queued:
    """The job of a group, or why there is none.

    Attributes:
        job: id of the array (or of the one job); empty where sbatch refused.
        jobs: ids of the elements.
    """

    job: str = ""
    jobs: list[str] = field(default_factory=list)
    refused: str = ""

    @classmethod
    def of(cls, job: str, count: int) -> Queued:
        """A job with ``count`` elements; one alone is no array."""
        return cls(job, [f"{job}_{k}" for k in range(count)] if count > 1 else [job])


class Submission:
    """Reads and writes the folder of one submission."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recipes: dict[str, Recipe] = {}

    @classmethod
    def create(cls, results: Path, header: Header, plan: Plan) -> Submission:
        """Write the plan; the folder then exists, and nothing is queued."""
        made = cls(results / FOLDER / header.id)
        for name in ("groups", "tasks", "logs", "jobs"):
            (made.folder / name).mkdir(parents=True, exist_ok=True)
        data = {
            "schema": _SCHEMA,
            **{k: v for k, v in asdict(header).items() if k != "profile"},
            "profile": header.profile.model_dump(mode="json"),
            "tasks": [asdict(task) for task in plan.tasks],
            "groups": [
                asdict(group) | {"resources": group.resources.model_dump(mode="json")}
                for group in plan.groups
            ],
        }
        _write(made.folder / "plan.json", data)
        return made

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def results(self) -> Path:
        """The folder of results that it lies in, wherever that is by now."""
        return self.folder.parent.parent

    def job_name(self, group: int) -> str:
        """By which the job of a group is found even where its number was not recorded."""
        return f"ddbench-{self.id.rpartition('-')[2]}-{group}"

    @cached_property
    def _data(self) -> dict[str, Any]:
        path = self.folder / "plan.json"
        data = _read(path)
        if data is None or data.get("schema") != _SCHEMA:
            raise BadInput("is no plan of this version", file=path)
        return data

    @property
    def readable(self) -> bool:
        """Whether there is a plan that this version reads."""
        try:
            return bool(self.header)
        except (BadInput, KeyError, TypeError):
            return False

    @cached_property
    def header(self) -> Header:
        """What all tasks share.

        Raises:
            BadInput: the plan is missing or damaged.
        """
        names = set(Header.__dataclass_fields__) - {"profile"}
        own = {name: self._data[name] for name in names}
        return Header(**own, profile=Profile.parse(self._data["profile"], file=self.folder))

    @cached_property
    def plan(self) -> Plan:
        """Tasks and groups as they were planned."""
        tasks = [Task(**_tuples(item)) for item in self._data["tasks"]]
        groups = []
        for item in self._data["groups"]:
            resources = Resources.parse(item["resources"], file=self.folder)
            after = tuple(After(**one) for one in item["after"])
            groups.append(Group(**_tuples(item) | {"resources": resources, "after": after}))
        return Plan(tasks, groups)

    def recipe(self, task: Task) -> Recipe:
        """The recipe of a task; raises ``BadInput`` where it cannot be read any more."""
        if task.recipe not in self._recipes:
            file = self.folder / task.recipe
            text = file.read_text(encoding="utf-8")
            self._recipes[task.recipe] = recipe_files.from_yaml(text, file=file)
        return self._recipes[task.recipe]

    # --- what happens later ------------------------------------------------------------------

    def queued(self, group: int) -> Queued | None:
        """The job of a group; None where nothing is recorded."""
        data = _read(self.folder / "groups" / f"{group}.json")
        return None if data is None else Queued(**data)

    def set_queued(self, group: int, queued: Queued) -> None:
        """Record the job of a group."""
        _write(self.folder / "groups" / f"{group}.json", asdict(queued))

    def progress(self, task: int) -> Progress | None:
        """How far a task is; None before its first start."""
        data = _read(self.folder / "tasks" / f"{task}.json")
        return None if data is None else Progress(**data)

    def set_progress(self, task: int, progress: Progress) -> None:
        """Record how far a task is."""
        _write(self.folder / "tasks" / f"{task}.json", asdict(progress))

    def log(self, task: int) -> Path:
        """What the runs of a task wrote."""
        return self.folder / "logs" / f"{task}.log"

    def printed(self, task: int) -> Path:
        """What the last run of a task printed as its outcome."""
        return self.folder / "logs" / f"{task}.out"

    def worker_log(self, job: str, rank: int) -> Path:
        """What a worker wrote, and Slurm about its step."""
        return self.folder / "jobs" / f"{job}_{rank}_log.err"

    @property
    def cancelled(self) -> set[int]:
        """Tasks that the user has cancelled: they are not started again."""
        try:
            lines = (self.folder / "cancelled").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return set()
        return {int(line) for line in lines if line.isdigit()}

    def set_cancelled(self, tasks: Iterable[int]) -> None:
        """Cancel more tasks."""
        numbers = sorted(self.cancelled | set(tasks))
        with publish(self.folder / "cancelled") as temporary:
            temporary.write_text("".join(f"{number}\n" for number in numbers), encoding="utf-8")


def new_id(results: Path) -> str:
    """Sorts after all submissions below ``results``, whatever the clocks of their hosts say."""
    now = datetime.now(UTC).replace(tzinfo=None)
    for known in submissions(results)[-1:]:
        with suppress(ValueError):
            last = datetime.strptime(known.id.partition("-")[0], _STAMP)
            now = max(now, last + timedelta(seconds=1))
    return f"{now:{_STAMP}}-{secrets.token_hex(4)}"


def submissions(results: Path) -> list[Submission]:
    """All submissions of this version below a results folder, oldest first."""
    folder = results / FOLDER
    if not folder.is_dir():
        return []
    found = [Submission(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    return [submission for submission in found if submission.readable]


def _tuples(item: dict[str, Any]) -> dict[str, Any]:
    """Lists of JSON as the tuples of the dataclasses."""
    return {
        key: tuple(tuple(part) if isinstance(part, list) else part for part in value)
        if isinstance(value, list) else value
        for key, value in item.items()
    }  # fmt: skip


def _write(path: Path, data: dict[str, Any]) -> None:
    with publish(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    """The data of a file; None where there is none, or something else.

    Raises:
        BadInput: it is there and cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise BadInput(f"cannot be read ({os.strerror(error.errno or 0)})", file=path) from None
    return data if isinstance(data, dict) else None
