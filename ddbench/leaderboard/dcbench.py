"""DC-BENCH's tables (Cui et al., NeurIPS 2022), from scores of its protocol ``dcbench-2022``.

Mean and population standard deviation (ddof 0) over networks, of the final epoch, as
justincui03/dc_benchmark ``evaluator/evaluator.py:76-98`` reports them. Only scores with the
protocol's own numbers take part, under any augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from ddbench.arms import OWN
from ddbench.leaderboard.records import DONE
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.settings import AUGMENTATIONS, augmentation_text, made_by, recipe_of
from ddbench.leaderboard.signs import DAGGER, NOTHING, PLUS_MINUS, TIMES
from ddbench.leaderboard.summary import summarise

PROTOCOL = "dcbench-2022"
DATASETS, SIZES = ("cifar10", "cifar100", "tinyimagenet"), (1, 10, 50)
"""What DC-BENCH reports."""
_PLAIN = "none"


@dataclass(frozen=True)
class _Score:
    """A method's sets, and networks of one architecture under one augmentation.

    Attributes:
        ipc: None for the whole dataset.
        mean_percent, std_percent: the latter over all networks, ddof 0.
        ratio_percent: synthetic images per training image; None where that is not known.
    """

    dataset: str
    method: str
    ipc: int | None
    network: str
    augmentation: str
    mean_percent: float
    std_percent: float
    n_sets: int
    n_networks: int
    ratio_percent: float | None
    test_selected: bool

    @property
    def text(self) -> str:
        """Mean and spread, with a mark where something was chosen on the test set."""
        mark = f" {DAGGER}" if self.test_selected else ""
        return f"{self.mean_percent:.2f} {PLUS_MINUS} {self.std_percent:.2f}{mark}"

    @property
    def size(self) -> str:
        """Images per class."""
        return "all" if self.ipc is None else str(self.ipc)

    @property
    def counts(self) -> str:
        """Sets and networks."""
        return f"{self.n_sets} {TIMES} {self.n_networks / self.n_sets:g}"


def view(frame: pd.DataFrame) -> list[Section]:
    """Accuracies, augmentations, transfer and accuracy against IPC.

    Args:
        frame: of ``collect``. Scores of other protocols, with numbers other than DC-BENCH's, with
            test-time augmentation or of a chosen snapshot, and ensembles are left out.
    """
    scores, left = _scores(frame)
    if not scores:
        notes = [f"No finished run was scored by {PROTOCOL} with its own numbers.", *left]
        return [Section("DC-BENCH", ["dataset", "method"], [], [False, False], notes)]
    return [_accuracies(scores, left), _augmentations(scores), _transfer(scores), _sizes(scores)]


# --- scores --------------------------------------------------------------------------------------


def _scores(frame: pd.DataFrame) -> tuple[list[_Score], list[str]]:
    """The scores that take part, in the order of the table, and notes on those that do not."""
    by_it = frame["protocol"].str.split("@").str[0] == PROTOCOL
    mine = frame[by_it & (frame["role"] == OWN) & (frame["status"] == DONE)]
    simple = ~mine["ensemble"] & (mine["tta"] == "none") & (mine["selection"] == "last")
    augmentations: dict[str, str] = {}
    where = ["path", "protocol", "network", "comparable"]
    places = mine[simple].drop_duplicates("comparable")[where].to_numpy().tolist()
    for path, protocol, network, comparable in places:
        recipe = made_by(path, protocol, network, comparable, preset=True)
        if recipe is not None:
            augmentations[comparable] = augmentation_text(recipe)
    known = mine["comparable"].isin(list(augmentations))
    part = mine[simple & known]
    part.attrs = frame.attrs
    left = (
        (int((~simple).sum()), "ensembles, test-time augmentation or chosen snapshots"),
        (int((simple & ~known).sum()), f"numbers other than those of {PROTOCOL}"),
    )
    notes = [f"Left out: {count} scores ({why})." for count, why in left if count]
    return list(_of_rows(part, augmentations)), notes


def _of_rows(frame: pd.DataFrame, augmentations: dict[str, str]) -> Iterator[_Score]:
    summary = summarise(frame)
    files = frame.drop_duplicates("key")
    ratios = {key: _ratio(path) for key, path in zip(files["key"], files["path"], strict=True)}
    several = summary.duplicated(["dataset", "name", "ipc", "network", "comparable"], keep=False)
    for (_, row), alike in zip(summary.iterrows(), several, strict=True):
        n, std = int(row["n_networks"]), row["accuracy_std_percent"]  # ddof 1, to be 0
        telling = f" [{row['recipe']} {row['key']}]" if alike else ""
        yield _Score(
            dataset=str(row["dataset"]),
            method=f"{row['name']}{telling}",
            ipc=None if pd.isna(row["ipc"]) else int(row["ipc"]),
            network=str(row["network"]),
            augmentation=augmentations[row["comparable"]],
            mean_percent=float(row["accuracy_percent"]),
            std_percent=0.0 if pd.isna(std) else float(std) * math.sqrt((n - 1) / n),
            n_sets=int(row["n_sets"]),
            n_networks=n,
            ratio_percent=ratios[row["key"]],
            test_selected=bool(row["test_selected"]),
        )


def _ratio(path: str) -> float | None:
    recipe = recipe_of(path)
    facts = recipe.facts
    if not facts.train_size:
        return None
    images = recipe.ipc * facts.num_classes if recipe.method.has_set else facts.train_size
    return 100 * images / facts.train_size


# --- tables --------------------------------------------------------------------------------------

_Key = Callable[[_Score], Hashable]
_Text = Callable[[_Score], str]
_COLUMNS: dict[str, tuple[bool, _Text]] = {
    "dataset": (False, lambda score: score.dataset),
    "IPC": (True, lambda score: score.size),
    "method": (False, lambda score: score.method),
    "network": (False, lambda score: score.network),
    "augmentation": (False, lambda score: score.augmentation),
}


def _pivot(
    title: str, scores: Sequence[_Score], named: Sequence[str], columns: Sequence[str],
    column: _Text, notes: Sequence[str],
) -> Section:  # fmt: skip
    """One row per distinct ``named``, one column of accuracies per value of ``column``."""
    texts = [text for name in named for text in [_COLUMNS[name][1]]]
    rows: dict[tuple[str, ...], dict[str, _Score]] = {}
    for score in scores:
        cells = rows.setdefault(tuple(text(score) for text in texts), {})
        cells[column(score)] = score
    missing = sum(len(columns) - len(cells) for cells in rows.values())
    left = [f"Missing: {missing} of {len(rows) * len(columns)} cells ({NOTHING})."]
    return Section(
        title=title,
        columns=[*named, *columns],
        rows=[
            [*names, *(cells[each].text if each in cells else NOTHING for each in columns)]
            for names, cells in rows.items()
        ],
        right=[_COLUMNS[name][0] for name in named] + [True] * len(columns),
        notes=[*notes, *(left if missing else [])],
        data=[asdict(score) for score in scores],
        row_header=list(named).index("method"),
    )


def _accuracies(scores: Sequence[_Score], left: Sequence[str]) -> Section:
    """Table (a): without augmentation, and under the best one."""
    groups: dict[Hashable, list[_Score]] = {}
    for score in scores:
        key = (score.dataset, score.ipc, score.method, score.network)
        groups.setdefault(key, []).append(score)
    rows, data = [], []
    for group in groups.values():
        first = group[0]
        plain = next((score for score in group if score.augmentation == _PLAIN), None)
        others = [score for score in group if score is not plain]
        best = max(others, key=lambda score: score.mean_percent, default=None)
        counts = sorted({score.counts for score in (plain, best) if score})
        rows.append([
            first.dataset, first.size, first.method, first.network,
            plain.text if plain else NOTHING, best.text if best else NOTHING,
            best.augmentation if best else NOTHING, ", ".join(counts),
        ])  # fmt: skip
        data.append({
            **{name: getattr(first, name) for name in ("dataset", "ipc", "method", "network")},
            "plain_percent": plain.mean_percent if plain else None,
            "plain_std_percent": plain.std_percent if plain else None,
            "best_percent": best.mean_percent if best else None,
            "best_std_percent": best.std_percent if best else None,
            "best_augmentation": best.augmentation if best else None,
            "augmentations": len(others),
        })  # fmt: skip
    notes = [
        f"{PLUS_MINUS}: population standard deviation (ddof 0) over the networks of all sets, as "
        "DC-BENCH. Accuracy in percent at the final epoch.",
        f"Best augmentation {DAGGER}: the one of those measured with the highest test accuracy, so "
        "chosen on the test set.",
        *_not_measured(scores),
        "DC-BENCH's search of architectures on NAS-Bench-201 is not part of this view.",
        *left,
    ]
    return Section(
        title="DC-BENCH: accuracy without and with augmentation",
        columns=["dataset", "IPC", "method", "network", "no augmentation (%)",
                 f"best augmentation (%) {DAGGER}", "augmentation", f"sets {TIMES} networks"],
        rows=rows,
        right=[False, True, False, False, True, True, False, True],
        notes=notes, data=data, row_header=2,
    )  # fmt: skip


def _not_measured(scores: Sequence[_Score]) -> list[str]:
    """Datasets and sizes of DC-BENCH without any score."""
    measured = {(score.dataset, score.ipc) for score in scores}
    missing = {
        dataset: [str(ipc) for ipc in SIZES if (dataset, ipc) not in measured]
        for dataset in DATASETS
    }
    told = [f"{dataset} at IPC {', '.join(sizes)}" for dataset, sizes in missing.items() if sizes]
    return [f"Not measured of DC-BENCH's datasets and sizes: {'; '.join(told)}."] if told else []


def _augmentations(scores: Sequence[_Score]) -> Section:
    """Table (b): DC-BENCH's augmentations, whether measured or not, and any others."""
    others = sorted({score.augmentation for score in scores} - set(AUGMENTATIONS))
    return _pivot(
        "DC-BENCH: augmentations", scores, ["dataset", "IPC", "method", "network"],
        [*AUGMENTATIONS, *others], lambda score: score.augmentation,
        ["Networks train for 300 epochs without augmentation, for 1000 with any."],
    )  # fmt: skip


def _transfer(scores: Sequence[_Score]) -> Section:
    """Table (c): sets on every architecture."""
    networks = list(dict.fromkeys(score.network for score in scores))
    notes = [] if len(networks) > 1 else ["Only one architecture was evaluated."]
    return _pivot(
        "DC-BENCH: transfer to other architectures", scores,
        ["dataset", "IPC", "method", "augmentation"], networks, lambda score: score.network, notes,
    )  # fmt: skip


def _sizes(scores: Sequence[_Score]) -> Section:
    """Table (d): accuracy against images per class, and the share of the data that they are."""
    sizes = {score.size: math.inf if score.ipc is None else score.ipc for score in scores}
    ratios = sorted({
        (score.dataset, sizes[score.size], score.ratio_percent)
        for score in scores if score.ipc is not None and score.ratio_percent is not None
    })  # fmt: skip
    told = ", ".join(f"{dataset} {ipc:g}: {ratio:.3g} %" for dataset, ipc, ratio in ratios)
    notes = [f"Share of the training images by IPC: {told}."] if told else []
    return _pivot(
        "DC-BENCH: accuracy against images per class", scores,
        ["dataset", "method", "network", "augmentation"],
        [f"IPC {size}" for size in sorted(sizes, key=lambda size: sizes[size])],
        lambda score: f"IPC {score.size}", notes,
    )  # fmt: skip
