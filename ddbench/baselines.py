"""What a set is compared with: random real subsets and the full data, scored once and kept.

A baseline does not depend on the set, so its scores are cached by content below
``cache_root()/baselines`` and shared by all methods of a dataset. Network e of a baseline has the
initialisation, order and augmentation of network e of the set (seed by seed), so that differences
are paired (common random numbers), and the e-th random subset of a seed is the same for every
method. Networks are trained one at a time, so that their bits do not depend on the stack size of
the run that happens to come first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench.arms import Arm
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.engine import Engine
from ddbench.evaluation import Target, score
from ddbench.networks import Network
from ddbench.places import cache_root
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.spec import fingerprint
from ddbench.store import EvaluationRecord
from ddbench.store.atomic import publish
from ddbench.trained import circumstances

log = logging.getLogger(__name__)

_LAYOUT = 2
"""Raise it when the form of an entry changes."""


def score_of(
    arm: Arm, member: int, recipe: Recipe, data: RealData, streams: Streams, engine: Engine
) -> EvaluationRecord:
    """The score of one network of a baseline arm, trained or found in the cache.

    Args:
        arm: of role ``random``, ``random_plain`` or ``real``.
        member: number of the network, and of its random subset.
        streams: of the result's seed.
    """
    test_every = recipe.evaluation.test_every
    identity = _identity(arm, member, recipe, data, streams)
    path = cache_root() / "baselines" / f"{fingerprint(identity)}.json"
    found = _read(path, identity)
    if found is not None:  # perhaps of another protocol that trains it alike
        return replace(found, protocol=arm.plan.protocol)
    log.info("%s %s, network %d: trained once for all methods", arm.role, arm.network.label, member)
    data_set = None if arm.role == "real" else random_subset(data, recipe.ipc, streams, member)
    (record,) = score(
        data_set, arm, data, Target(data.x_test, data.y_test), [member], streams,
        replace(engine, stack=1), iteration=0, test_every=test_every, role=arm.role,
    )  # fmt: skip
    _write(path, identity, record)
    return record


def random_subset(data: RealData, ipc: int, streams: Streams, member: int) -> DistilledSet:
    """``ipc`` real training images per class, class by class, drawn without replacement.

    Classes with fewer images give all of theirs. A function of the data, the seed and ``member``.
    """
    generator = streams.generator("random subset", member)
    u = torch.rand(data.class_index.shape, generator=generator, device=generator.device)
    index, valid = data.class_batches(u, ipc)
    rows = index.T[valid.T]
    return DistilledSet(data.x_train[rows], data.y_train[rows], data.space)


# --- the cache -----------------------------------------------------------------------------------


def _identity(
    arm: Arm, member: int, recipe: Recipe, data: RealData, streams: Streams
) -> dict[str, Any]:
    """Everything that makes a score, as plain data."""
    return {
        "layout": _LAYOUT,
        **circumstances(data, streams, _networks(arm)),
        "ipc": None if arm.role == "real" else recipe.ipc,
        "arm": arm.key,
        "test_every": recipe.evaluation.test_every,
        "seed": streams.seed,
        "member": member,
    }


def _networks(arm: Arm) -> list[Network]:
    """The student's architecture and its teachers'."""
    return [arm.network, *(spec.network for spec in arm.plan.networks_needed())]


def _write(path: Path, identity: dict[str, Any], record: EvaluationRecord) -> None:
    packed = _packed(record)
    entry = {"identity": identity, "record": packed, "sha256": _digest(packed)}
    with publish(path) as temporary:
        temporary.write_text(json.dumps(entry, allow_nan=False), encoding="utf-8")


def _read(path: Path, identity: dict[str, Any]) -> EvaluationRecord | None:
    """The record of an entry; None for what is absent, damaged or of something else."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        if entry["identity"] == identity and entry["sha256"] == _digest(entry["record"]):
            return _unpacked(entry["record"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    log.warning("%s is damaged; its score is computed again", path)
    return None


def _digest(packed: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(packed, sort_keys=True).encode()).hexdigest()


def _packed(record: EvaluationRecord) -> dict[str, Any]:
    """JSON can hold it: NaN as null, predictions as packed bits."""
    packed = {field.name: getattr(record, field.name) for field in fields(record)}
    assert record.correct is not None
    bits = np.packbits(record.correct.astype(np.bool_)).tobytes()
    return {
        **{name: _no_nan(value) for name, value in packed.items() if name not in _ARRAYS},
        "per_class": [_no_nan(value) for value in record.per_class.tolist()],
        "correct": [len(record.correct), base64.b64encode(bits).decode()],
    }


def _no_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _unpacked(packed: dict[str, Any]) -> EvaluationRecord:
    values: dict[str, Any] = {
        name: math.nan if value is None else value for name, value in packed.items()
    }
    count, text = packed["correct"]
    bits = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    values["correct"] = np.unpackbits(bits, count=count).astype(np.bool_)
    values["per_class"] = np.array(packed["per_class"], dtype=np.float32)  # None becomes NaN
    return EvaluationRecord(**values)


_ARRAYS = ("per_class", "correct")
