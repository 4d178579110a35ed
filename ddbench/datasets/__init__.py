"""Datasets: what a recipe says about one, what is known about each, and where the files lie.

A dataset is one file ``facts/NAME.yaml``; the ``family`` it names is a module of this package that
reads its files. A module that also has ``derive`` is a generic dataset of its own (``npz``,
``folder``): its facts come from the user's files. Nothing here imports torch or numpy at the top.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self, cast

from pydantic import Field, model_validator

from ddbench import plugins
from ddbench.content import files_sha256
from ddbench.errors import BadInput, unknown
from ddbench.places import data_root
from ddbench.spec import Spec, read_yaml

if TYPE_CHECKING:
    from ddbench.datasets._arrays import Arrays

_FACTS = Path(__file__).parent / "facts"
_SAFE_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# YAML has lists only; their items stay strict.
_Floats = Annotated[tuple[float, ...], Field(strict=False)]
_Ints = Annotated[tuple[int, ...], Field(strict=False)]
_Words = Annotated[tuple[str, ...], Field(strict=False)]
_Shape = Annotated[tuple[int, int, int], Field(strict=False)]


class Constants(Spec):
    """Mean and standard deviation per channel of pixels in [0, 1], and who uses them."""

    mean: _Floats
    std: _Floats
    source: str


class DefaultNetwork(Spec):
    """The network of a dataset's recipes unless they name another; ``width`` None: the usual."""

    name: str
    width: int | None = None


class DatasetFacts(Spec):
    """What is known about a dataset without reading its pixels. None: not established.

    Attributes:
        name: the slug.
        family: module of this package that loads it.
        title: its name in prose.
        shape: (C, H, W) of one image as loaded.
        num_classes: K.
        train_size, test_size: images per part.
        smallest_class: images of the smallest training class, the limit of ``ipc`` for real images.
        classes: class names in label order, or empty.
        wnids, indices: WordNet ids and ILSVRC-2012 indices in label order (ImageNet subsets).
        constants: normalisation per family of references.
        network: the default network.
        mirror: whether a horizontal flip keeps the label.
        resized: the stored images have other sizes and are resized to ``shape`` on loading.
        antialias: how the references resize, where they do.
        torchvision: class name in ``torchvision.datasets`` (family ``torchvision_sets``).
        files: files under the data root that have to be there.
        where: how to get the files and where to put them.
        source: whose data this is, or where its definition was read.
        note: what a user should know besides.
        refused: why it cannot be used as it is, and what to use instead; empty for the rest.
    """

    name: str
    family: str
    title: str
    shape: _Shape
    num_classes: int
    train_size: int | None = None
    test_size: int | None = None
    smallest_class: int | None = None
    classes: _Words = ()
    wnids: _Words = ()
    indices: _Ints = ()
    constants: dict[str, Constants] = Field(default_factory=dict)
    network: DefaultNetwork
    mirror: bool
    resized: bool = False
    antialias: bool | None = None
    torchvision: str | None = None
    files: _Words = ()
    where: str
    source: str
    note: str = ""
    refused: str = ""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lists = {"classes": self.classes, "wnids": self.wnids, "indices": self.indices}
        for field, items in lists.items():
            if len(items) not in (0, self.num_classes):
                raise BadInput(
                    f"has {len(items)} items for {self.num_classes} classes", field=field
                )
        for family, constants in self.constants.items():
            if {len(constants.mean), len(constants.std)} != {self.shape[0]}:
                raise BadInput(f"needs {self.shape[0]} values each", field=f"constants.{family}")
        return self


class DatasetSpec(Spec):
    """The ``dataset`` block of a recipe.

    Attributes:
        name: a built-in slug, or ``npz`` or ``folder`` for the user's own files.
        path: the user's file or folder; a relative path is looked up under the data root.
        like: built-in dataset that lends constants, class names and the default network.
        label: what to call the user's files in tables and result paths.
        zca: whiten pixels by ZCA in place of mean and std; ``kip``: as KIP does it.
        image_size: side length H = W in pixels; None: the dataset's own.
        antialias: whether shrinking is antialiased; None: as the dataset's references do, else yes.
        validation: fraction of the training part held out, stratified, the same for every seed.
        constants: family of references whose mean and std are used.
    """

    name: str
    path: str | None = None
    like: str | None = None
    label: str | None = None
    zca: bool | Literal["kip"] = False
    image_size: Annotated[int, Field(gt=0, le=4096)] | None = None
    antialias: bool | None = None
    validation: Annotated[float, Field(gt=0, le=0.5)] | None = None
    constants: str = "dc"

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.name not in names():
            raise unknown("dataset", self.name, names(), "name")
        if self.name in generic_names():
            _check_generic(self)
        else:
            _check_built_in(self)
        return self


def _check_generic(spec: DatasetSpec) -> None:
    if not spec.path:
        raise BadInput(f"dataset '{spec.name}' needs the path of your files", field="path")
    if ".." in Path(spec.path).parts:
        raise BadInput(
            f"found '{spec.path}'",
            field="path",
            allowed="an absolute path, or one below the data root without '..'",
        )
    if spec.like is not None and spec.like not in _built_in_names():
        raise unknown("dataset", spec.like, _built_in_names(), "like")
    if spec.like is None and spec.constants != "dc":
        raise BadInput(
            f"'{spec.constants}' needs 'like', the built-in dataset whose constants are meant; "
            "without it mean and std are measured on the training part",
            field="constants",
        )
    if spec.like is not None:
        _check_usable(spec.like, "like")
        _check_constants(spec, _built_in(spec.like))
    if spec.antialias is not None and spec.image_size is None:
        raise BadInput("changes nothing without image_size", field="antialias")
    if spec.label is not None and not _SAFE_LABEL.fullmatch(spec.label):
        raise BadInput(
            f"found '{spec.label}'",
            field="label",
            allowed="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    if spec.label in _built_in_names():
        raise BadInput(
            f"'{spec.label}' is the name of a built-in dataset; choose one that tells them apart, "
            f"such as '{spec.label}-{spec.name}'",
            field="label",
        )


def _check_built_in(spec: DatasetSpec) -> None:
    for field in ("path", "like", "label"):
        if getattr(spec, field) is not None:
            raise BadInput(
                f"dataset '{spec.name}' takes no '{field}'; it belongs to your own files",
                field=field,
                allowed=[f"{{name: {name}, ...}}" for name in generic_names()],
            )
    _check_usable(spec.name, "name")
    known = _built_in(spec.name)
    if spec.antialias is not None and spec.image_size is None and not known.resized:
        raise BadInput(f"changes nothing for '{spec.name}' without image_size", field="antialias")
    _check_constants(spec, known)


def _check_usable(name: str, field: str) -> None:
    reason = _built_in(name).refused
    if reason:
        raise BadInput(f"'{name}' cannot be used: {reason}", field=field)


def _check_constants(spec: DatasetSpec, known: DatasetFacts) -> None:
    if spec.constants not in known.constants:
        raise unknown("family of constants", spec.constants, list(known.constants), "constants")


# --- what there is ------------------------------------------------------------------------------


class Family(Protocol):
    """A module of this package."""

    def load(
        self, facts: DatasetFacts, spec: DatasetSpec, root: Path, *, download: bool = False
    ) -> Arrays:
        """Read the dataset; raises ``BadInput`` where its files are missing or unusable."""


class GenericFamily(Family, Protocol):
    """A module whose datasets are the user's own files."""

    def derive(self, spec: DatasetSpec, path: Path, like: DatasetFacts | None) -> DatasetFacts:
        """The facts of the files at ``path``, without reading pixels."""

    def content_files(
        self, spec: DatasetSpec, path: Path, like: DatasetFacts | None
    ) -> Mapping[str, Path]:
        """The files that make the content, by their name within it, sorted."""


@cache
def _built_in_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _FACTS.glob("*.yaml")))


@cache
def generic_names() -> tuple[str, ...]:
    """Sorted names of the datasets that are the user's own files."""
    modules = plugins.names(__name__)
    return tuple(name for name in modules if hasattr(plugins.load(__name__, name), "derive"))


@cache
def names() -> tuple[str, ...]:
    """Sorted names of all datasets."""
    return tuple(sorted((*_built_in_names(), *generic_names())))


@cache
def _built_in(name: str) -> DatasetFacts:
    path = _FACTS / f"{name}.yaml"
    known = DatasetFacts.parse(read_yaml(path), file=path)
    if known.name != name:
        raise BadInput(f"is '{known.name}' in a file named {path.name}", file=path, field="name")
    return known


def facts(spec: DatasetSpec | str, root: Path | None = None) -> DatasetFacts:
    """What is known about a dataset, at the image size that ``spec`` asks for.

    Of the user's own files only headers, labels and folder names are read.

    Args:
        root: where datasets lie; None: ``data_root()``.

    Raises:
        BadInput: an unknown name, or files that are missing or cannot be used.
    """
    if isinstance(spec, str):
        if spec in generic_names():
            raise BadInput(f"dataset '{spec}' has no facts without a path", field="dataset.path")
        if spec not in _built_in_names():
            raise unknown("dataset", spec, names(), "dataset")
        return _built_in(spec)
    if spec.name in generic_names():
        known = _generic(spec.name).derive(spec, locate(spec, root), like_facts(spec))
    else:
        known = _built_in(spec.name)
    size = spec.image_size
    if size is None or known.shape[1:] == (size, size):
        return known
    shape = (known.shape[0], size, size)
    return known.model_copy(update={"shape": shape, "network": network_for(shape)})


def network_for(shape: tuple[int, int, int]) -> DefaultNetwork:
    """ConvNet of the usual depth: 3 blocks at 28 and 32 pixels, 4 at 64, 5 from 128 on."""
    depth = round(math.log2(min(shape[1:]))) - 2
    return DefaultNetwork(name=f"ConvNetD{min(max(depth, 1), 5)}")


def label(spec: DatasetSpec) -> str:
    """The dataset's name in tables and result paths."""
    return spec.label or spec.name


# --- files --------------------------------------------------------------------------------------


def locate(spec: DatasetSpec, root: Path | None = None) -> Path:
    """The user's file or folder; raises ``BadInput`` saying where it was looked for."""
    assert spec.path is not None, "only the user's own files have a path"
    base = data_root() if root is None else root
    found = base / Path(spec.path).expanduser()  # an absolute path replaces the base
    if not found.exists():
        relative = not Path(spec.path).expanduser().is_absolute()
        hint = " (a relative path is looked up under the data root, DDBENCH_DATA)"
        raise BadInput(f"nothing found at {found}{hint if relative else ''}", field="dataset.path")
    return found


def content_id(spec: DatasetSpec, root: Path | None = None) -> str | None:
    """SHA-256 over the user's own files (names and bytes), or None for a built-in dataset."""
    if spec.name not in generic_names():
        return None
    files = _generic(spec.name).content_files(spec, locate(spec, root), like_facts(spec))
    return files_sha256(files)


def read(spec: DatasetSpec, root: Path | None = None, *, download: bool = False) -> Arrays:
    """The dataset's images and labels as stored, checked against its facts.

    Args:
        root: where datasets lie; None: ``data_root()``.
        download: fetch missing public files from the network.

    Raises:
        BadInput: the files are missing or unusable, or this version cannot read the dataset.
        RunFailed: a download failed.
    """
    base = data_root() if root is None else root
    if spec.name in generic_names():
        family: Family = _generic(spec.name)
        known = _generic(spec.name).derive(spec, locate(spec, base), like_facts(spec))
    else:
        known = _built_in(spec.name)
        family = _family(known)
    arrays = family.load(known, spec, base, download=download)
    arrays.check(known)
    return arrays


def _family(known: DatasetFacts) -> Family:
    if known.family not in plugins.names(__name__):
        size = known.shape[1]
        raise BadInput(
            f"'{known.name}' cannot be loaded by this version; arrange its images as "
            "train/CLASS/* and test/CLASS/* and use "
            f"{{name: folder, path: ..., like: {known.name}, image_size: {size}, label: ...}}",
            field="dataset.name",
        )
    return cast(Family, plugins.load(__name__, known.family))


def _generic(name: str) -> GenericFamily:
    return cast(GenericFamily, plugins.load(__name__, name))


def like_facts(spec: DatasetSpec) -> DatasetFacts | None:
    """The facts of the built-in dataset that ``spec.like`` names, if it names one."""
    return None if spec.like is None else _built_in(spec.like)
