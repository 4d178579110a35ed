"""From "score this set" to a recipe: what ``ddbench evaluate`` and ``import`` run.

A foreign set becomes a recipe with method ``external`` and one seed per replicate; a result of ours
keeps its own recipe with another ``evaluation`` block. Either way the scores join the results like
those of any run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddbench import datasets, protocols, recipe_files, store
from ddbench.datasets import DatasetSpec
from ddbench.errors import BadInput
from ddbench.importers import Found, Options
from ddbench.importers._detect import read
from ddbench.importers._proposals import guess_dataset, proposals
from ddbench.importing import stored_images
from ddbench.networks import resolve as resolve_network
from ddbench.recipe import Recipe
from ddbench.runner import result_file
from ddbench.spec import load_yaml
from ddbench.toy import FOLDER as TOY_FOLDER
from ddbench.verification import compare_sets

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LONGEST_NAME = 80
_USE_OF_F = ("layer", "pool", "use", "metric", "normalize", "lambda_reg", "dtype")
"""Fields of the features block that say how F is used, not how it was learned."""


@dataclass(frozen=True)
class Request:
    """How sets are to be scored, as the command line says it.

    Attributes:
        dataset: name or fields (YAML) of the dataset block.
        networks: architectures; empty = those of ``like``, else of the set's own recipe.
        protocol, repeats: fields of the ``evaluation`` block.
        like: a recipe that lends dataset, network, features and evaluation.
        overrides: ``field=value``, as ``--set`` gives them.
        options: answers to what a foreign file leaves open.
    """

    dataset: str | None = None
    networks: Sequence[str] = ()
    protocol: str | None = None
    repeats: int | None = None
    like: Recipe | None = None
    overrides: Sequence[str] = ()
    options: Options = field(default_factory=Options)

    def evaluation(self, own: dict[str, Any]) -> dict[str, Any]:
        """The ``evaluation`` block: ``own``, or that of ``like``, with what was asked for."""
        block = own if self.like is None else self.like.to_data()["evaluation"]
        if self.protocol is not None:  # a protocol's own numbers, not those of another one
            kept = ("networks", "features")
            block = {name: block[name] for name in kept if name in block}
            block["protocol"] = self.protocol
        asked = {"networks": list(self.networks) or None, "repeats": self.repeats}
        block |= {name: value for name, value in asked.items() if value is not None}
        return block | {"selection": "last", "snapshots": []}  # the final set is what is scored


def is_ours(path: Path) -> bool:
    """Whether ``path`` is a result of ddbench.

    Raises:
        BadInput: an HDF5 file that is damaged, so that it cannot be told.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            return False
    try:
        store.read_header(path)
    except BadInput as error:
        if "not a ddbench result" not in error.problem:
            raise
        return False
    return True


def recipe_for(path: Path, request: Request) -> Recipe:
    """The recipe whose runs score ``path``.

    Raises:
        BadInput: a file that cannot be read, or a question that is left open.
    """
    if not path.exists():
        raise BadInput("no such file or folder", file=path)
    if is_ours(path):
        return _own_recipe(path, request)
    return foreign_recipe(path, request)


# --- results of ours ----------------------------------------------------------------------------


def _own_recipe(path: Path, request: Request) -> Recipe:
    """The file's recipe with another evaluation."""
    if TOY_FOLDER in path.resolve().parts:
        raise BadInput("is a toy run, which is no result", file=path)
    answers = request.options.model_dump(exclude_defaults=True)
    given = [f"--{name.replace('_', '-')}" for name in answers]
    given += ["--dataset"] if request.dataset is not None else []
    if given:
        raise BadInput(f"{', '.join(given)}: a ddbench result states all that itself", file=path)
    attrs = store.read_header(path).attrs
    recipe, seed = recipe_files.from_yaml(str(attrs["recipe"]), file=path), int(attrs["seed"])
    if recipe.key != attrs["key"]:
        raise BadInput(f"its recipe has the key {recipe.key}, the file says {attrs['key']}; it was "
                       "made by another version", file=path, field="key")  # fmt: skip
    data = recipe.to_data()
    data |= {"evaluation": request.evaluation(data["evaluation"]), "seeds": [seed]}
    for override in request.overrides:
        if not override.startswith("evaluation."):
            raise BadInput(f"found '{override}', but the set is made", file=path, field="--set",
                           allowed="evaluation.FIELD=VALUE")  # fmt: skip
        data = recipe_files.overridden(data, override)
    return Recipe.parse(data, file=path)


def place(path: Path, recipe: Recipe, results: Path) -> None:
    """Copy a result of ours to its place in ``results``, if it lies elsewhere.

    Raises:
        BadInput: another set is there.
    """
    if not is_ours(path):
        return
    target = result_file(recipe, recipe.seeds[0], results)
    with store.writer_lock(target):
        if not target.exists():
            store.write(target, store.read(path))  # reading checks every part
        elif not target.samefile(path):
            differing = compare_sets("", store.read(target).synthetic, store.read(path).synthetic)
            if differing:
                raise BadInput(
                    f"has the key of {target}, but another content: {differing[0]}", file=path,
                    allowed="another folder of results (--results)",
                )  # fmt: skip


# --- sets of others -----------------------------------------------------------------------------


def foreign_recipe(path: Path, request: Request) -> Recipe:
    """A recipe with method ``external``; its seeds are the file's replicates.

    Raises:
        BadInput: see ``importers``; or no dataset is named, or no protocol.
    """
    if request.protocol is None and request.like is None:
        raise BadInput("by which protocol? Published sets differ in their authors' own",
                       file=path, field="--protocol", allowed=protocols.names())  # fmt: skip
    reading = read(path, request.options)
    found = reading.sets[0]
    dataset = _dataset(path, request, found)
    facts = datasets.facts(DatasetSpec.parse(dataset, field="dataset"))
    answers = request.options.model_dump(exclude={"replicate"}, exclude_defaults=True)
    replicate = request.options.replicate
    like = request.like.to_data() if request.like is not None else {}
    data: dict[str, Any] = {
        "name": _name(datasets.label(DatasetSpec.parse(dataset)), path),
        "dataset": dataset,
        "network": like.get("network") or _hinted_network(found),
        "ipc": -(-stored_images(found) // facts.num_classes),
        "method": {"name": "external", "set": str(path.absolute()), **_absolute(answers)},
        "features": _features(found, like.get("features")),
        "evaluation": request.evaluation({}),
        "seeds": list(range(len(reading.sets))) if replicate is None else [replicate],
    }
    for override in request.overrides:
        data = recipe_files.overridden(data, override)
    if found.F is not None:
        data["features"] = _used_features(path, data, request)
    recipe = Recipe.parse(data, file=path)
    _check_step_size(path, recipe, found.lr is not None or request.options.lr is not None)
    return recipe


def _dataset(path: Path, request: Request, found: Found) -> dict[str, Any]:
    """The dataset block in the value space of the set, unless the user says otherwise."""
    if request.dataset is not None:
        block = load_yaml(request.dataset, file="--dataset")
        block = {"name": block} if isinstance(block, str) else block
        if not isinstance(block, dict):
            raise BadInput(f"found '{request.dataset}'", field="--dataset",
                           allowed="a name, or fields: {name: npz, path: x.npz}")  # fmt: skip
    elif request.like is not None:
        block = request.like.dataset.model_dump(mode="json", exclude_defaults=True)
    else:
        raise BadInput(f"which dataset is it of? {guess_dataset(found)}", file=path,
                       field="--dataset", allowed="--dataset NAME")  # fmt: skip
    return {**proposals(found, request.options, DatasetSpec.parse(block, field="dataset")), **block}


def _absolute(answers: dict[str, Any]) -> dict[str, Any]:
    """Files among the answers by their full paths: the command line means the working folder."""
    from ddbench.methods.external import is_file

    named = [name for name in ("labels", "lr", "class_order") if is_file(name, answers.get(name))]
    return answers | {name: str(Path(answers[name]).absolute()) for name in named}


def _hinted_network(found: Found) -> str | None:
    """The architecture in the file's name, where it is one that is known here."""
    name = found.hints.get("network")
    try:
        return resolve_network(name).name if isinstance(name, str) else None
    except BadInput:
        return None


def _features(found: Found, like: dict[str, Any] | None) -> dict[str, Any] | None:
    """The block that describes the file's own F."""
    if found.F is None:
        return None
    used = {name: value for name, value in (like or {}).items() if name in _USE_OF_F}
    item = "channel" if found.F.dim() == 3 or found.F.shape[-2:] == (1, 1) else "full"
    own = {"item": item, "n_feat": found.F.shape[1], "init": {"source": "file"}}
    settings = found.hints.get("features")
    if isinstance(settings, dict):  # our own words, in a file that was exported
        kept = {name: settings[name] for name in _USE_OF_F if name in settings}
        return {**kept, **used, **own, "item": settings.get("item", item)}
    hints = {name: found.hints[name] for name in ("lambda_reg",) if name in found.hints}
    return {**hints, **used, **own}


def _used_features(path: Path, data: dict[str, Any], request: Request) -> dict[str, Any] | None:
    """The features block; None where nothing of F is used, whichever network it is of."""
    block: dict[str, Any] | None = data["features"]
    if data["evaluation"].get("features", {}).get("use") == "without":
        asked = any(override.startswith("features") for override in request.overrides)
        return block if asked else None
    if not block or "lambda_reg" in block:
        return block
    raise BadInput(
        "has F, but does not say its weight lambda", file=path, field="features.lambda_reg",
        allowed="--set features.lambda_reg=VALUE, or --set evaluation.features.use=without",
    )  # fmt: skip


def _check_step_size(path: Path, recipe: Recipe, known: bool) -> None:
    """Ask before anything is written: most trajectory methods do not save what they learned."""
    if not known and any(plan.lr == "learned" for _, plan in recipe.plans()):
        raise BadInput(
            f"protocol {recipe.evaluation.protocol} trains at the learned step size, which the "
            "file does not have", file=path, field="--lr",
            allowed="--lr VALUE, or --set evaluation.lr=VALUE",
        )  # fmt: skip


def _name(dataset: str, path: Path) -> str:
    """A recipe's name from the file's, such as ``mnist_external_res_dc_mnist_convnet_1ipc``."""
    stem = path.stem if path.is_file() else path.name
    slug = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")
    return f"{dataset.lower()}_external_{slug or 'set'}"[:_LONGEST_NAME].rstrip("-_")
