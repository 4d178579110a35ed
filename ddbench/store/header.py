"""What a table needs of a result file; without torch, so that many files are opened quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddbench.store.evaluations import EvaluationRecord, decode_evaluations
from ddbench.store.tree import open_tree


@dataclass(frozen=True, eq=False)
class Header:
    """What a table needs: the attributes and the evaluations, without predictions."""

    attrs: dict[str, Any]
    evaluations: Sequence[EvaluationRecord] = ()


def read_header(path: Path) -> Header:
    """The attributes and evaluations; reads no tensors, so that a table can open many files.

    Raises:
        BadInput: missing, not ours, too new, or damaged (what is not read is not checked).
    """
    with open_tree(path) as file:
        return Header(file.attrs, decode_evaluations(file, predictions=False))
