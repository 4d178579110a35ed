"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadInput
from ddbench.places import results_root

if TYPE_CHECKING:
    from ddbench.cluster.profile import Profile
    from ddbench.cluster.survey import TaskState
    from ddbench.recipe import Recipe


def add_recipes(
    parser: argparse.ArgumentParser, *, what: str = "recipe file or shipped name", nargs: str = "+"
) -> None:
    """RECIPE..., ``--set`` and ``--seeds``."""
    parser.add_argument("recipes", nargs=nargs, metavar="RECIPE", help=what)
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE",
        help="override a recipe field, e.g. method.lr_img=0.2; part of the key",
    )  # fmt: skip
    parser.add_argument("--seeds", metavar="N,N", help="seeds in place of the recipe's")


def add_results(parser: argparse.ArgumentParser) -> None:
    """``--results``."""
    parser.add_argument(
        "--results", type=folder, metavar="DIR", default=None,
        help="folder of results (default: DDBENCH_RESULTS, else results)",
    )  # fmt: skip


def add_results_argument(parser: argparse.ArgumentParser) -> None:
    """DIR, where the folder of results is what a command is about."""
    parser.add_argument(
        "results", nargs="?", type=folder, metavar="DIR", default=None,
        help="folder of results (default: DDBENCH_RESULTS, else results)",
    )  # fmt: skip


def add_cluster(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """``--cluster`` and ``--image``."""
    kept = "that of each submission" if default is None else f"slurm/{default}.yaml"
    parser.add_argument("--cluster", metavar="PROFILE", default=default,
                        help=f"slurm/NAME.yaml or a shipped name (default: {kept})")  # fmt: skip
    parser.add_argument("--image", metavar="FILE.sif",
                        help="image in place of the profile's; none = no container")  # fmt: skip


def add_runs(parser: argparse.ArgumentParser) -> None:
    """RUN..., what was submitted."""
    parser.add_argument("runs", nargs="+", metavar="RUN",
                        help="recipe's name, NAME:SEED, key, job, submission, or all")  # fmt: skip


def folder(text: str) -> Path:
    """A path that names something: an empty one would mean the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def results_folder(args: argparse.Namespace) -> Path:
    """The folder of results."""
    path: Path = args.results or results_root()
    if path.exists() and not path.is_dir():
        raise BadInput(f"'{path}' is a file", field="--results", allowed="a folder")
    return path


def read_profile(args: argparse.Namespace) -> Profile:
    """The cluster profile; raises ``BadInput``."""
    from ddbench.cluster import profile

    if args.cluster is None:
        raise BadInput("is needed together with --image", field="--cluster")
    return profile.read(args.cluster, image=args.image)


def submitted_tasks(args: argparse.Namespace) -> list[TaskState]:
    """The submitted tasks that RUN... stand for; raises ``BadInput`` for an unknown one."""
    from ddbench.cluster import control

    return control.chosen(results_folder(args), args.runs)


def read_recipes(args: argparse.Namespace) -> Iterator[Recipe]:
    """The recipes with overrides and seeds in place; all are read before the first is used."""
    from ddbench import recipe_files

    overrides = list(args.overrides)
    if args.seeds is not None:
        if not re.fullmatch(r"[0-9]+(,[0-9]+)*", args.seeds):
            raise BadInput(f"found '{args.seeds}'", field="--seeds", allowed="numbers: 0,1,2")
        overrides.append(f"seeds=[{args.seeds}]")
    for path in [file for name in args.recipes for file in _expanded(name)]:
        yield recipe_files.read(path, overrides)


def _expanded(name: str) -> list[str]:
    """A folder stands for the recipes in it."""
    if Path(name).is_dir():
        found = sorted(str(path) for path in Path(name).glob("*.yaml"))
        if not found:
            raise BadInput("holds no recipe (*.yaml)", file=name)
        return found
    return [name]


def human(count: float, unit: str = "B") -> str:
    """1234567 as ``1.2 MB``."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(count) < 1000 or prefix == "T":
            digits = 0 if prefix == "" else 1
            return f"{count:.{digits}f} {prefix}{unit}"
        count /= 1000
    raise AssertionError
