"""The Python API: load a set, run a recipe, score a set, make a table.

    from ddbench import api

    result = api.run("digits_dc_ipc2", seed=0)          # a Path to the HDF5 file
    data = api.load(result)                             # a torch Dataset of (x, y, F)
    records = api.evaluate(result, repeats=3)           # one record per trained network
    print(api.table(["results"]))

The command line is a thin layer over the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from ddbench import data as real_data
from ddbench import recipe_files, reevaluation, runner, store
from ddbench.arms import StoredFeatures, arms_of
from ddbench.distilled import DistilledSet
from ddbench.engine import choose, configure, resolve_device
from ddbench.evaluation import Target, score
from ddbench.features.source import spec_of
from ddbench.importers import Options
from ddbench.networks import resolve as resolve_network
from ddbench.places import results_root
from ddbench.protocols import EvaluationSpec
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord

if TYPE_CHECKING:
    from ddbench.leaderboard.compare import Comparison


class SetDataset(Dataset[tuple[Tensor, ...]]):
    """A distilled set as a torch ``Dataset``; an item is (x, y) or, with F, (x, y, F).

    x float32 [C, H, W] in the set's value space, y int64 [] or float32 [K], F float32 [M, c, h, w]
    (with per-class F, that of the image's class).
    """

    def __init__(self, data_set: DistilledSet) -> None:
        self.set = data_set
        F = data_set.F
        if F is not None and data_set.features.get("granularity") == "per_class":
            labels = data_set.y if data_set.kind == "index" else data_set.y.argmax(1)
            F = F[labels]
        self._F = F

    def __len__(self) -> int:
        return len(self.set)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        item = (self.set.x[index], self.set.y[index])
        return item if self._F is None else (*item, self._F[index])


def load(path: str | Path, *, iteration: int | None = None) -> SetDataset:
    """The set of a result file, or its snapshot at ``iteration``.

    Raises:
        BadInput: not a result file, damaged, or without such a set.
    """
    return SetDataset(store.read_set(Path(path), iteration))


def read_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by path or shipped name, with ``a.b=value`` overrides; raises ``BadInput``."""
    return recipe_files.read(name, overrides)


def run(
    recipe: Recipe | str | Path,
    *,
    seed: int = 0,
    results: Path | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> Path:
    """Run one recipe with one seed (or find it done); the path of its result file.

    Raises:
        BadInput, RunFailed, CutOff, Locked: see ``runner.run``.
    """
    ready = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    return runner.run(ready, seed, results or results_root(), device=device).path


def evaluate(
    result: str | Path,
    *,
    networks: Sequence[str] | None = None,
    protocol: str | None = None,
    repeats: int | None = None,
    device: str = "auto",
    **fields: Any,
) -> list[EvaluationRecord]:
    """Score the set of a result file anew and return the records; the file is not changed.

    Sets of others: ``evaluate_foreign``.

    Args:
        networks: architectures; None = those of the file's recipe.
        protocol, repeats, fields: fields of the ``evaluation`` block that replace the recipe's.
            A new protocol starts from its own preset.

    Raises:
        BadInput: an unusable file or field.
    """
    stored = store.read(Path(result))
    recipe = recipe_files.from_yaml(stored.attrs["recipe"], file=result)
    kept = {} if protocol else recipe.evaluation.model_dump(mode="json", by_alias=True)
    kept |= {"selection": "last", "snapshots": []}  # the final set is what is scored
    given = {"protocol": protocol, "repeats": repeats, "networks": networks, **fields}
    changed = {name: value for name, value in given.items() if value is not None}
    spec = EvaluationSpec.parse({**kept, **changed}, field="evaluation")
    where = resolve_device(device)
    data = real_data.load(recipe.dataset, where)
    data_set = stored.synthetic.to(where) if stored.synthetic is not None else None
    features = None
    if data_set is not None and data_set.F is not None:
        c, h, w = data_set.F.shape[2:]
        features = StoredFeatures(spec_of(data_set.features), (c, h, w))
    records: list[EvaluationRecord] = []
    for network in map(resolve_network, spec.networks or [recipe.net]):
        plan = spec.plan(recipe.facts, network, ipc=recipe.ipc)
        count = len(data_set) if data_set is not None else len(data.x_train)
        engine = choose(where, [network], data.shape, min(count, plan.batch_size))
        configure(engine)
        for arm in arms_of(features, network, plan, spec.features, data.shape):
            records += score(
                data_set, arm, data, Target(data.x_test, data.y_test), range(plan.repeats),
                Streams(int(stored.attrs["seed"]), where), engine,
                iteration=recipe.method.iterations_of(recipe.ipc), test_every=spec.test_every,
                ensemble=spec.ensemble,
            )  # fmt: skip
    return records


def evaluate_foreign(
    path: str | Path,
    *,
    dataset: str,
    protocol: str,
    networks: Sequence[str] = (),
    repeats: int | None = None,
    overrides: Sequence[str] = (),
    results: Path | None = None,
    device: str = "auto",
    **answers: Any,
) -> list[Path]:
    """Import a set of others, score it, and return its result files, one per replicate.

    Args:
        dataset: name or fields (YAML) of the dataset block.
        overrides: ``field=value`` of the recipe, such as ``evaluation.epochs=100``.
        answers: what the file leaves open: ``space``, ``constants``, ``labels_kind``, ``labels``,
            ``lr``, ``class_order``, ``replicate``, ``format`` (docs/foreign-sets.md).

    Raises:
        BadInput: a file that cannot be used, or a question left open.
    """
    request = reevaluation.Request(
        dataset=dataset, networks=networks, protocol=protocol, repeats=repeats,
        overrides=overrides, options=Options.parse(answers),
    )  # fmt: skip
    recipe = reevaluation.foreign_recipe(Path(path), request)
    folder = results or results_root()
    return [runner.run(recipe, seed, folder, device=device).path for seed in recipe.seeds]


def table(
    paths: Sequence[str | Path],
    *,
    fmt: str = "github",
    pivot_by: str | None = None,
    by_bytes: bool = False,
    division: str | None = None,
    view: str = "default",
    published: bool = False,
    costs: bool = False,
    bibtex: bool = False,
) -> str:
    """The table of all results below ``paths``, as ``ddbench table`` prints it (docs/tables.md).

    Args:
        fmt: ``github``, ``latex``, ``csv``, ``html`` or ``json``.
        pivot_by: ``networks``, ``ipc`` or ``datasets``: its values become columns.
        by_bytes: sort by bytes and compare at equal bytes, instead of by IPC.
        division: ``hard``, ``soft``, ``teacher`` or ``features``: only those rows.
        view: ``default``, ``ddranking``, ``dcbench`` or ``ranks``.
        published: with the published numbers of the table's cells.
        costs: with seconds, peak memory and device.
        bibtex: the BibTeX of the methods shown, in place of the table.

    Raises:
        BadInput: a folder that does not exist, an unknown name, or options that exclude each other.
    """
    from ddbench import leaderboard

    return leaderboard.table(
        [Path(path) for path in paths], fmt=fmt, pivot_by=pivot_by, by_bytes=by_bytes,
        division=division, view=view, published=published, costs=costs, bibtex=bibtex,
    )  # fmt: skip


def compare(
    a: str | Path,
    b: str | Path,
    *,
    results: str | Path | None = None,
    networks: Sequence[str] = (),
    alpha: float = 0.05,
) -> Comparison:
    """Compare two methods or runs in pairs, as ``ddbench compare`` does (docs/compare.md).

    Args:
        a, b: a result file, a folder of them, or, below ``results``, a recipe's name, one with
            ``:SEED``, a set's key, or a method. The same twice compares networks with F to those
            without.
        results: where names are looked up; None = ``DDBENCH_RESULTS``, else ``results``.
        networks: only these architectures; empty = all.
        alpha: error that a verdict accepts.

    Raises:
        BadInput: an unknown or ambiguous name, nothing to compare, or different test images.
    """
    from ddbench.leaderboard.compare import compare as compared

    folder = results_root() if results is None else Path(results)
    return compared(str(a), str(b), results=folder, networks=networks, alpha=alpha)


__all__ = [
    "SetDataset", "compare", "evaluate", "evaluate_foreign", "load", "read_recipe", "run", "table",
]  # fmt: skip
