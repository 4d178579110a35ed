"""From recipes and seeds to job arrays with dependencies. Pure: nothing is asked of Slurm here.

A *cell* is what is left to do of one recipe with one seed. Its chain is experts, distill, evaluate;
each link is a *task*, one command on one node. Tasks that ask for the same resources and wait for
the same things become one *group*, a job array. Networks that several cells need are trained once,
by the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ddbench.cluster.profile import Profile, Resources, Stage

T = TypeVar("T")
Condition = Literal["afterok", "aftercorr", "afterany"]


@dataclass(frozen=True)
class Run:
    """A recipe with a seed.

    Attributes:
        recipe: its file below the submission's folder.
        result: its file below the results folder.
    """

    recipe: str
    name: str
    key: str
    seed: int
    result: str


@dataclass(frozen=True)
class Cell(Run):
    """What is left to do of a run.

    Attributes:
        stages: what is left, in order.
        shards: what is left of its evaluation: parts such as ``2/3``, or ``""`` for all of it.
        experts: keys of the networks that must be trained first.
        family: the same without the seed: cells of one family wait for the same array.
    """

    stages: tuple[Stage, ...]
    shards: tuple[str, ...] = ("",)
    experts: tuple[str, ...] = ()
    family: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task(Run):
    """One command: some stages of a run, or one shard of its evaluation.

    Attributes:
        number: its place in the plan.
        experts: keys of the networks that it trains for all.
    """

    stages: tuple[Stage, ...]
    number: int
    shard: str = ""
    experts: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """How it is named to people."""
        shard = f" {self.shard}" if self.shard else ""
        return f"{self.name} seed {self.seed} {'+'.join(self.stages)}{shard}"


@dataclass(frozen=True)
class After:
    """A condition for starting: on the group of that number, or on a job of another submission."""

    condition: Condition
    group: int | None = None
    job: str = ""


@dataclass(frozen=True)
class Group:
    """One call of sbatch: an array whose elements do the tasks of these numbers.

    Rank r of an element does its tasks r, r + ranks, ... one after the other.
    """

    number: int
    stage: Stage
    title: str
    resources: Resources
    elements: tuple[tuple[int, ...], ...]
    after: tuple[After, ...] = ()


@dataclass
class Plan:
    """Groups in the order in which they are submitted, and their tasks by number."""

    tasks: list[Task] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def plan(cells: Sequence[Cell], profile: Profile, made: Mapping[str, str] | None = None) -> Plan:
    """The groups that do everything that is left of ``cells``.

    Args:
        made: networks that jobs of other submissions are training: expert key to job.
    """
    builder = _Builder(profile, dict(made or {}))
    if profile.scheduler == "local":
        builder.lanes([cell for cell in cells if cell.stages])
    else:
        builder.chains(cells)
    return builder.plan


class _Builder:
    def __init__(self, profile: Profile, made: dict[str, str]) -> None:
        self._profile, self._made = profile, made
        self._owner: dict[str, list[int]] = {}  # expert key: groups whose array trains it
        self.plan = Plan()

    def lanes(self, cells: Sequence[Cell]) -> None:
        """As many jobs as may run at once, each with its share of the cells, whole."""
        resources = self._profile.resources("distill")
        count = min(resources.concurrency, len(cells))
        tasks = [self._task(cell, cell.stages).number for cell in cells]
        lanes = [tuple(tasks[first::count]) for first in range(count)]
        if lanes:
            self.plan.groups.append(Group(0, "distill", "run", resources, tuple(lanes)))

    def chains(self, cells: Sequence[Cell]) -> None:
        """Per family of networks trained beforehand: their array, then those that wait for it."""
        for family in _grouped(cells, lambda cell: cell.family):
            self._experts(family)
        for alike in _grouped(cells, lambda c: (c.family, "distill" in c.stages, _shards(c))):
            after = self._after_experts(alike)
            if "distill" in alike[0].stages:
                self._with_evaluations(alike, after)
            else:
                self._evaluations(alike, [after] * len(self._chunks(alike, "evaluate")))

    def _experts(self, cells: Sequence[Cell]) -> None:
        tasks, keys = [], []
        for cell in cells:
            new = tuple(key for key in cell.experts if key not in self._owner | self._made)
            if new:
                self._owner |= {key: [] for key in new}
                tasks.append(self._task(cell, ("experts",), experts=new).number)
                keys.append(new)
        for part in _cut(list(zip(tasks, keys, strict=True)), self._limit("experts")):
            group = self._group("experts", "experts", [task for task, _ in part], ())
            for _, made in part:
                for key in made:
                    self._owner[key].append(group.number)

    def _after_experts(self, cells: Sequence[Cell]) -> tuple[After, ...]:
        keys = dict.fromkeys(key for cell in cells for key in cell.experts)
        groups = dict.fromkeys(number for key in keys for number in self._owner.get(key, []))
        jobs = dict.fromkeys(self._made[key] for key in keys if key in self._made)
        return (
            *(After("afterok", group=number) for number in groups),
            *(After("afterok", job=job) for job in jobs),
        )

    def _with_evaluations(self, cells: Sequence[Cell], after: tuple[After, ...]) -> None:
        """Distillations, and their evaluations with the same indices."""
        aligned = self._limit("distill") == self._limit("evaluate") and (
            self._profile.resources("distill").ranks == self._profile.resources("evaluate").ranks
        )
        behind: list[tuple[After, ...]] = []
        numbers = []
        for part in self._chunks(cells, "distill"):
            tasks = [self._task(cell, ("distill",)).number for cell in part]
            numbers.append(self._group("distill", "distill", tasks, after).number)
            behind.append((After("aftercorr", group=numbers[-1]),))
        if "evaluate" not in cells[0].stages:
            return
        if not aligned:
            everything = tuple(After("afterok", group=number) for number in numbers)
            behind = [everything] * len(self._chunks(cells, "evaluate"))
        self._evaluations(cells, behind)

    def _evaluations(self, cells: Sequence[Cell], after: Sequence[tuple[After, ...]]) -> None:
        if "evaluate" not in cells[0].stages:
            return
        for shard in cells[0].shards:
            for part, behind in zip(self._chunks(cells, "evaluate"), after, strict=True):
                tasks = [self._task(cell, ("evaluate",), shard=shard).number for cell in part]
                self._group("evaluate", f"evaluate {shard}".strip(), tasks, behind)

    def _limit(self, stage: Stage) -> int:
        return self._profile.max_array * self._profile.resources(stage).ranks

    def _chunks(self, cells: Sequence[Cell], stage: Stage) -> list[Sequence[Cell]]:
        return list(_cut(cells, self._limit(stage)))

    def _task(
        self, cell: Cell, stages: tuple[Stage, ...], *, shard: str = "",
        experts: tuple[str, ...] = (),
    ) -> Task:  # fmt: skip
        task = Task(
            cell.recipe, cell.name, cell.key, cell.seed, cell.result, stages,
            len(self.plan.tasks), shard, experts,
        )  # fmt: skip
        self.plan.tasks.append(task)
        return task

    def _group(
        self, stage: Stage, title: str, tasks: Sequence[int], after: tuple[After, ...]
    ) -> Group:
        resources = self._profile.resources(stage)
        elements = tuple(tuple(part) for part in _cut(tasks, resources.ranks))
        group = Group(len(self.plan.groups), stage, title, resources, elements, after)
        self.plan.groups.append(group)
        return group


def _shards(cell: Cell) -> tuple[str, ...]:
    return cell.shards if "evaluate" in cell.stages else ()


def _grouped(cells: Sequence[Cell], alike: Callable[[Cell], Hashable]) -> list[list[Cell]]:
    """Cells with the same value of ``alike`` together, in order of their first."""
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        if cell.stages:
            groups.setdefault(alike(cell), []).append(cell)
    return list(groups.values())


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
