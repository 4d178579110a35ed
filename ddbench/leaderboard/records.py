"""Every score of many result files as one tidy frame: one row per (file, evaluation record).

Nothing is averaged or left out here. What does not become rows is listed in the frame's ``attrs``:
``rejected``, pairs (path, reason) of damaged and foreign files, and ``unfinished``, pairs (path,
status) of runs that are not done (their scores so far are rows with that status).
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from ddbench import store
from ddbench.arms import ENSEMBLE, OWN
from ddbench.errors import BadInput
from ddbench.leaderboard.recipe_facts import RecipeFacts, Row, Scored
from ddbench.recipe_files import from_yaml
from ddbench.store import Header
from ddbench.store.evaluations import Columns
from ddbench.toy import FOLDER as TOY_FOLDER

log = logging.getLogger(__name__)

DONE = "done"
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "dataset": "label of the dataset",
        "recipe": "name of the recipe",
        "method": "slug of the method",
        "title": "name of the method in prose",
        "ipc": "synthetic images per class; missing for a method without a set",
        "key": "identifies the synthetic set, without the seed",
        "seed": "seed of the set",
        "network": "architecture that was trained on the set",
        "network_seed": "seed of that network; -1 = ensemble",
        "ensemble": "whether the mean logits of all networks were scored",
        "role": "what the network was trained on: set, or a baseline of the protocol",
        "evaluation_key": "identifies all that changes a score of a stored set",
        "comparable": "the evaluation key without F: equal where trained and tested alike",
        "division": "hard, soft, teacher or features: what is learned from besides the images",
        "protocol": "name of the evaluation protocol",
        "tta": "test-time augmentation",
        "selection": "how the scored snapshot was chosen",
        "iteration": "the snapshot that was scored",
        "used_features": "whether the network was trained with F",
        "has_features": "whether the set has F",
        "fixed_images": "whether F was made on images that stay as initialised",
        "features": "source, item, granularity and lambda of F; empty without",
        "bytes": "what has to be stored to train so: the sum of the four parts",
        "image_bytes": "bytes of the images",
        "label_bytes": "bytes of the labels, stored views among them",
        "feature_bytes": "bytes of F, if it is used",
        "teacher_bytes": "bytes of the weights of a teacher that labels while networks train",
        "teacher": "the networks that labelled images while training; empty: none",
        "image_equivalents": "bytes of images, and F if used, per class, in float32 images",
        "test_size": "images of the test set",
        "accuracy": "fraction, at the final epoch",
        "best_accuracy": "fraction, best over training, selected on the test set",
        "train_accuracy": "fraction, on the synthetic set",
        "epochs": "epochs trained",
        "lr": "learning rate at the start of training",
        "seconds": "training and testing one network",
        "distill_seconds": "making the set",
        "peak_memory_bytes": "highest memory use of the run",
        "device": "what computed it",
        "ddbench": "version that made the file",
        "git": "commit of the code that made the file",
        "torch": "version of torch",
        "image": "container images that it was made in; empty: none",
        "job": "the scheduler's jobs that worked on it; empty: none",
        "finished": "time, ISO 8601",
        "restarts": "how often work on it was started again",
        "as_recipe": "whether the file's recipe asks for this score",
        "set_selected": "whether whoever published the set chose it by its test accuracy",
        "published_accuracy": "the paper's number for this row, percent",
        "published_std": "the paper's spread, percent",
        "published_source": "where the paper's number stands",
        "status": "distilled, labelled, done or failed",
        "path": "the result file",
    }
)
_TYPES = {
    **dict.fromkeys(("ipc", "test_size"), "Int64"),  # which may be missing
    **dict.fromkeys(("seed", "network_seed", "iteration", "epochs", "restarts"), "int64"),
    **dict.fromkeys(
        (
            *("ensemble", "used_features", "has_features", "fixed_images", "set_selected"),
            "as_recipe",
        ),
        "bool",
    ),
    **dict.fromkeys(
        (
            *("bytes", "image_bytes", "label_bytes", "feature_bytes", "teacher_bytes"),
            *("image_equivalents", "accuracy", "best_accuracy", "train_accuracy", "lr", "seconds"),
            *("distill_seconds", "peak_memory_bytes", "published_accuracy", "published_std"),
        ),
        "float64",
    ),
}
"""Columns that are not text."""
_RECORDED = (
    *("network", "network_seed", "role", "evaluation_key", "protocol", "tta", "selection"),
    *("iteration", "used_features", "teacher", "accuracy", "best_accuracy", "train_accuracy"),
    *("epochs", "lr", "seconds"),
)
_PROVENANCE = ("ddbench", "git", "torch", "image", "job", "finished")


def collect(paths: Sequence[Path], *, baselines: bool = False) -> pd.DataFrame:
    """All scores of the result files at or below ``paths``, sorted by path.

    Folders are searched for ``*.h5``; hidden ones below them are skipped. A file that cannot be
    used is logged and listed in ``attrs['rejected']``, and does not stop the rest.

    Args:
        baselines: also with the scores of what a protocol compares the set with (``role`` is not
            ``set``); their bytes are missing where they are no part of the set.

    Returns:
        A frame with ``COLUMNS``, accuracies as fractions, and the ``attrs`` of this module.

    Raises:
        BadInput: a path that does not exist, or that lies among toy runs.
    """
    reader = _Reader(baselines)
    for path in _files(paths):
        try:
            reader.read(path)
        except (BadInput, OSError) as error:
            log.warning("left out: %s", error)
            reader.rejected.append((str(path), _reason(error)))
    return reader.frame()


class _Reader:
    """Rows as three tables that refer to one another: files, arms of a file, scores of an arm."""

    def __init__(self, baselines: bool) -> None:
        self.rejected: list[tuple[str, str]] = []
        self._unfinished: list[tuple[str, str]] = []
        self._baselines = baselines
        self._recipes: dict[str, RecipeFacts] = {}
        self._files: list[Row] = []
        self._arms: list[Row] = []
        self._scores: dict[str, list[object]] = {name: [] for name in ("file", "arm", *_RECORDED)}

    def read(self, path: Path) -> None:
        """Add the rows of one file; raises ``BadInput`` for a file that is no use."""
        header = store.read_header(path)
        facts = self._facts(str(header.attrs["recipe"]), path)
        columns = header.columns
        wanted = [self._baselines or role == OWN for role in columns["role"]]
        keys = list(compress(_arms(columns), wanted))
        arms = {key: facts.of(Scored(*key), header) for key in dict.fromkeys(keys)}
        of_file = facts.shared | _of_file(path, header)
        places = {key: len(self._arms) + place for place, key in enumerate(arms)}
        # nothing above is kept of a file that is refused half way
        self._scores["file"] += [len(self._files)] * len(keys)
        self._scores["arm"] += [places[key] for key in keys]
        for name in _RECORDED:
            self._scores[name] += compress(columns[name], wanted)
        self._arms += arms.values()
        self._files.append(of_file)
        if header.attrs["status"] != DONE:
            self._unfinished.append((str(path), str(header.attrs["status"])))

    def _facts(self, text: str, path: Path) -> RecipeFacts:
        """What the recipe says, read once for all its seeds."""
        known = _SEEDS.sub("", text)
        if known not in self._recipes:
            self._recipes[known] = RecipeFacts(from_yaml(text, file=path))
        return self._recipes[known]

    def frame(self) -> pd.DataFrame:
        """All rows so far."""
        if self._scores["file"]:
            scores = pd.DataFrame(self._scores)
            of_files = _taken(self._files, scores.pop("file"))
            of_arms = _taken(self._arms, scores.pop("arm"))
            frame = pd.concat([scores, of_files, of_arms], axis=1)[list(COLUMNS)].astype(_TYPES)
        else:
            frame = pd.DataFrame(columns=list(COLUMNS), dtype=object).astype(_TYPES)
        frame.attrs = {"rejected": self.rejected, "unfinished": self._unfinished}
        return frame


_SEEDS = re.compile(r"^seeds:\n(?:- [0-9]+\n)+", re.MULTILINE)


def _taken(rows: Sequence[Row], places: pd.Series) -> pd.DataFrame:
    """``rows[places]`` as a frame."""
    return pd.DataFrame(rows).take(places.to_numpy(dtype=np.intp)).reset_index(drop=True)


def _arms(columns: Columns) -> Iterator[tuple[Any, ...]]:
    """The fields of ``Scored``, of every record."""
    ensemble = [seed == ENSEMBLE for seed in columns["network_seed"]]
    names = Scored.__dataclass_fields__
    return zip(*(columns.get(name, ensemble) for name in names), strict=True)


def _of_file(path: Path, header: Header) -> Row:
    attrs = header.attrs
    return {
        "key": str(attrs["key"]),
        "seed": int(_number(header, "seed")),
        "distill_seconds": _number(header, "seconds"),
        "peak_memory_bytes": _number(header, "peak_memory_bytes"),
        "device": str(attrs.get("device", "unknown")),
        **{name: str(attrs.get(name, "")) for name in _PROVENANCE},
        "restarts": int(_number(header, "restarts", 0)),
        "set_selected": bool(attrs.get("selected_on_test", False)),
        "status": str(attrs["status"]),
        "path": str(path),
    }


def _number(header: Header, name: str, missing: float = math.nan) -> float:
    """A number of the file's attributes; raises ``BadInput`` for anything else."""
    value = header.attrs.get(name, missing)
    if not isinstance(value, int | float) or math.isinf(value):
        raise BadInput(f"found {value!r}", field=name, allowed="a number")
    return value


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Every file once, even where paths overlap."""
    seen: set[tuple[int, int]] = set()
    for root in paths:
        if not root.exists():
            raise BadInput("does not exist", file=root, allowed="a result file or a folder of them")
        if TOY_FOLDER in root.resolve().parts:
            raise BadInput("holds toy runs, which never enter a table", file=root)
        for path in sorted(_below(root)) if root.is_dir() else [root]:
            found = path.stat()
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                yield path


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.endswith(".h5") and not name.startswith(".") and path.is_file():
                yield path


def _reason(error: BadInput | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return f"{error.field}: {error.problem}" if error.field else error.problem
