"""DC, DSA, DM: ``res_<METHOD>_<DATASET>_<MODEL>_<IPC>ipc.pt``; and DRUPI on them.

A dict: ``data`` is a list of [images, labels], one per experiment (VICO-UoE/DatasetCondensation
main.py:222-225), or of [images, labels, F], one per evaluation of one experiment
(turturturturtur/DRUPI DC/DCmain3.0.py:953-955); ``accs_all_exps`` holds test accuracies by network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ddbench.importers import Found

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._source import Source

SUMMARY = "DC, DSA, DM: res_*.pt with all experiments; DRUPI's with F"


def matches(source: Source) -> str | None:
    """A dict with ``data``: lists of images, labels and perhaps F."""
    name = _file(source)
    if name is None:
        return None
    items = source.skeleton(name)["data"]
    what = "images, labels and F" if len(items[0]) == 3 else "images and labels"
    return f"{name} is a dict whose 'data' holds {len(items)} x [{what}]"


def read(source: Source) -> list[Found]:
    """Every experiment's set; of DRUPI's, the last evaluation's."""
    from ddbench.importers import _parts

    name = _file(source)
    if name is None:
        raise source.bad("holds no dict whose 'data' is a list of [images, labels(, F)]")
    content = source.load_torch(name)
    items, recorded = content["data"], content.get("accs_all_exps")
    if len({len(item) for item in items}) > 1:
        raise source.bad("mixes entries with F and without", name=name)
    last_part = name.rpartition("/")[2]
    hints = {**_parts.result_name_hints(last_part), **_parts.drupi_hints(last_part)}
    if len(items[0]) == 3:
        last = _accuracies(recorded, len(items), last_only=True)
        note = {"entries": len(items), "entry": len(items) - 1, "recorded_accuracy": last[-1]}
        return [_found(items[-1], source, name, {**hints, **note})]
    accuracies = _accuracies(recorded, len(items))
    return [
        _found(item, source, name, {**hints, "recorded_accuracy": found})
        for item, found in zip(items, accuracies, strict=True)
    ]


def _file(source: Source) -> str | None:
    """The one torch file of the source, if it is of this form."""
    names = [name for name in source.names if name.endswith((".pt", ".pth"))]
    names = names if source.is_folder else [source.path.name]
    return names[0] if len(names) == 1 and _is_ours(source.skeleton(names[0])) else None


def _is_ours(value: Any) -> bool:
    from ddbench.importers._parts import is_images

    items = value.get("data") if isinstance(value, dict) else None
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(i, list | tuple) and len(i) in (2, 3) and is_images(i[0]) for i in items)
    )


def _found(item: Sequence[Tensor], source: Source, name: str, hints: dict[str, Any]) -> Found:
    from ddbench.importers import _parts

    x = _parts.images(item[0], source, name)
    y = _parts.labels(item[1], source, name, len(x))
    F = _parts.features(item[2], source, name, len(x)) if len(item) == 3 else None
    return Found(
        x, y, F,
        # DRUPI's scripts whiten on request and do not say so in the file
        space="meanstd" if F is None else None,
        constants="dc",
        kind=None if y.is_floating_point() else "index",
        hints=hints,
    )  # fmt: skip


def _accuracies(
    recorded: Any, sets: int, *, last_only: bool = False
) -> list[dict[str, list[float]]]:
    """Recorded test accuracies (fractions) per set and network.

    One flat list per network, experiment after experiment; DRUPI's are lists of one array per
    evaluation. Where they cannot be told apart they are left out.
    """
    found: list[dict[str, list[float]]] = [{} for _ in range(sets)]
    for network, values in recorded.items() if isinstance(recorded, dict) else ():
        entries = _plain(values)
        if not isinstance(entries, list) or not isinstance(network, str):
            continue
        if last_only and entries and isinstance(entries[-1], list):
            found[-1][network] = _flat(entries[-1])
        elif not last_only and entries and len(entries) % sets == 0:
            size = len(entries) // sets
            for index, one in enumerate(found):
                one[network] = _flat(entries[index * size : (index + 1) * size])
    return [{network: values for network, values in one.items() if values} for one in found]


def _plain(value: Any) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _flat(values: list[Any]) -> list[float]:
    """The numbers in nested lists; none where one is no accuracy."""
    found: list[float] = []
    for value in values:
        if isinstance(value, list):
            found += _flat(value)
        elif isinstance(value, float | int) and 0 <= value <= 1:
            found.append(float(value))
        else:
            return []
    return found
