"""Networks trained beforehand, known from the recipe alone, to plan what is still to be trained.

Where a network lies in the cache follows from the data's pixels and the machine (``trained``). For
planning, an index beside it leads from the recipe's words to the file. It is a hint: whoever uses a
network finds it by content, or trains it. Torch-free.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ddbench.datasets import DatasetSpec
from ddbench.places import cache_root
from ddbench.protocols import TrainedOn
from ddbench.recipe import dataset_identity
from ddbench.spec import fingerprint
from ddbench.store.atomic import publish


def networks_folder() -> Path:
    """Where trained networks lie."""
    return cache_root() / "networks"


def expert_key(dataset: DatasetSpec, spec: TrainedOn, seed: int) -> str:
    """Names the networks of ``spec`` in a run with ``seed``; their own seed, if any, counts."""
    own = seed if spec.seed is None else spec.seed
    return fingerprint({**spec.identity(), "dataset": dataset_identity(dataset), "seed": own})


def known(key: str) -> bool:
    """Whether these networks have been trained with this cache, on whatever device, and lie in it.

    An entry that cannot be read counts as none.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(_entry(key).read_text(encoding="utf-8"))
        return (networks_folder() / entry["file"]).is_file()
    return False


def note(key: str, file: Path, *, device: str, data: str) -> None:
    """Enter networks into the index; a cache that cannot be written stays as it is.

    Args:
        file: where they lie, in ``networks_folder()``.
        device: what they were trained on.
        data: SHA-256 of the real data.
    """
    text = json.dumps({"file": file.name, "device": device, "data": data})
    path = _entry(key)
    with suppress(OSError):
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with publish(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _entry(key: str) -> Path:
    return networks_folder() / "index" / f"{key}.json"
