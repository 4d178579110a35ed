"""Publishing a set in another program's format: as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ddbench import exporters, recipe_files, store
from ddbench.errors import BadInput


def export(path: Path, format_name: str, target: Path) -> list[str]:
    """Write the set of result ``path`` to ``target`` in a format.

    Returns:
        What the format cannot hold, in sentences.

    Raises:
        BadInput: not a result, one without a set, a target that exists, or a set that the format
            cannot hold at all.
    """
    if target.exists():
        raise BadInput("exists already", file=target, field="-o")
    if not target.parent.is_dir():
        raise BadInput("no such folder", file=target.parent, field="-o")
    exporter = exporters.exporter(format_name)
    data_set = store.read_set(path)
    recipe = recipe_files.from_yaml(str(store.read_header(path).attrs["recipe"]), file=path)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = folder / target.name
        try:
            notes = exporter.write(data_set, recipe.facts, written)
        except BadInput as error:
            raise error.at(file=path) from None
        written.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return notes
