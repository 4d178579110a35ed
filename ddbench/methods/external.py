"""A published set, in whatever file its authors wrote: imported, not distilled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ddbench.content import file_sha256, files_sha256
from ddbench.errors import BadInput
from ddbench.importers import KindOption, Options, SpaceOption
from ddbench.importers.idc import FACTOR
from ddbench.methods import Method
from ddbench.places import data_root

_FILES = ("labels", "class_order", "lr")
_COMPANIONS = ("labels", "lr", "features")
_DIGEST = r"[0-9a-f]{64}"


class External(Method):
    """A set that somebody else made: x, y, F and step size are the file's; seed = replicate.

    What the file leaves open is settled by the fields, whose names are the options of
    ``ddbench evaluate``; nothing is guessed. The file enters the key by its content.
    """

    given: ClassVar[bool] = True
    title: ClassVar[str] = "External"
    name: Literal["external"] = "external"
    set: str = Field(
        min_length=1, description="file or folder; a relative path is looked up under DDBENCH_DATA"
    )
    label: str | None = Field(
        None, min_length=1, max_length=60, description="the method's name in tables"
    )
    sha256: str | None = Field(
        None, pattern=_DIGEST, description="content of the file; null = computed when it is read"
    )
    files: dict[str, str] = Field(
        default={}, description="content of the files that fields below name; computed"
    )
    decode: str | None = Field(
        None, pattern=r"^factor[0-9]{1,9}_(single|multi|bound)$",
        description="IDC: how stored images hold several; null = as the folder's name says",
    )  # fmt: skip
    format: str = Field("auto", description="an importer's name; auto detects")
    space: SpaceOption | None = Field(None, description="value space of the images")
    constants: str | None = Field(None, description="family of mean and std they were made with")
    labels_kind: KindOption | None = Field(None, description="what float labels hold")
    labels: str | None = Field(None, min_length=1, description="a file with the labels")
    lr: str | None = Field(
        None, min_length=1, description="the student's step size: numbers or a file"
    )
    class_order: str | None = Field(
        None, min_length=1, description="a file: line i = the class it calls i"
    )

    @field_validator("lr", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """``lr: 0.01`` reads as well as ``lr: "0.01,0.02"``."""
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Read the hashes that are not written down; a missing file is then an error."""
        if self.sha256 is None:
            object.__setattr__(self, "sha256", content_hash(self.path))
            object.__setattr__(self, "decode", self.decode or named_decoding(self.path))
        named = [name for name in _FILES if is_file(name, getattr(self, name))]
        missing = {name: getattr(self, name) for name in named if name not in self.files}
        hashes = {name: content_hash(located(value), name) for name, value in missing.items()}
        object.__setattr__(self, "files", {**self.files, **hashes})
        return self

    @property
    def heading(self) -> str:
        """The label, or the file's name, so that two published sets differ in a table."""
        return self.label or f"{self.title} {Path(self.set).stem}"

    @property
    def path(self) -> Path:
        """Where the set is looked for."""
        return located(self.set)

    def options(self, replicate: int | None = None) -> Options:
        """What settles the open questions; files with their full paths."""
        own = {name: getattr(self, name) for name in Options.model_fields if name != "replicate"}
        paths = {name: str(located(own[name])) for name in self.files}
        return Options(**own | paths, replicate=replicate)

    def identity(self) -> dict[str, Any]:
        """The set by content, and what settles it; paths and names do not enter."""
        own = self.model_dump(mode="json", exclude_defaults=True, exclude={"set", "label", "files"})
        if self.lr is not None and "lr" not in self.files:  # 0.02 and 2e-2 are one rate
            own["lr"] = [repr(float(part)) for part in self.lr.split(",")]
        return {**own, **self.files, "name": self.name}

    def portable(self) -> External:
        """The same with names in place of paths, which mean nothing on another machine."""
        names = {name: Path(getattr(self, name)).name for name in ("set", *self.files)}
        return self.model_copy(update=names)


def located(text: str) -> Path:
    """An absolute path as it is, a relative one below the data root."""
    path = Path(text)
    with suppress(RuntimeError):  # of a user that there is not: then it is no file either
        path = path.expanduser()
    return data_root() / path


def named_decoding(path: Path) -> str | None:
    """What an IDC folder's name says of its images: the same bytes decode to different sets."""
    found = FACTOR.findall(path.resolve().as_posix())
    return f"factor{max(1, int(found[-1][0]))}_{found[-1][1] or 'single'}" if found else None


def is_file(name: str, value: str | None) -> bool:
    """Whether an option's value names a file; ``lr`` may hold numbers instead."""
    if name != "lr" or value is None:
        return value is not None
    try:
        return not [float(part) for part in value.split(",")]
    except ValueError:
        return True


def files_of(path: Path) -> dict[str, Path]:
    """The files that make a set, by name: all of a folder; a file and its companions.

    Programs that save a tensor per file name them alike: ``images_best.pt`` belongs together with
    ``labels_best.pt``, ``lr_best.pt`` and ``features_best.pt`` beside it.
    """
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and _counts(file, path))
        return {file.relative_to(path).as_posix(): file for file in found}
    head, images, tail = path.name.rpartition("images")
    tails = (tail, tail.replace("_zca_", "_", 1))  # images_zca_0.pt has the labels of images_0.pt
    others = {path.with_name(head + part + end) for part in _COMPANIONS for end in tails if images}
    return {file.name: file for file in sorted([path, *filter(Path.is_file, others)])}


def _counts(file: Path, folder: Path) -> bool:
    """Whether a file is of the set; what file managers leave behind is not."""
    parts = file.relative_to(folder).parts
    litter = {"__MACOSX", "Thumbs.db", "desktop.ini"}
    return not any(part.startswith(".") or part in litter for part in parts)


def content_hash(path: Path, field: str = "set") -> str:
    """SHA-256 over the files of a set (of the file itself where it is one); raises ``BadInput``."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BadInput("is neither a file nor a folder", file=path, field=field)
        files = files_of(path)
        return files_sha256(files) if len(files) > 1 else file_sha256(*files.values())
    except FileNotFoundError:
        raise BadInput("no such file or folder", file=path, field=field) from None
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path, field=field) from None
    except ValueError as error:  # a name that no file can have
        raise BadInput(f"cannot be read ({error})", file=path, field=field) from None


METHOD = External
