"""Running many things of which one may fail: what happened to each, and the exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.recipe import Recipe

log = logging.getLogger(__name__)

Entry = dict[str, Any]


def seeds(recipe: Recipe, do: Callable[[int], Entry]) -> Iterator[Entry]:
    """What happened to every seed; bad input, such as missing data, ends a recipe.

    Of an imported set it may concern one replicate: the others go on.
    """
    for seed in recipe.seeds:
        named = {"recipe": recipe.name, "key": recipe.key, "seed": seed}
        entry = attempt(named, lambda seed=seed: do(seed))  # type: ignore[misc]
        yield entry
        if entry["state"] == "bad input" and not recipe.method.given:
            return


def attempt(named: Entry, do: Callable[[], Entry]) -> Entry:
    """``named`` with what ``do`` tells, or with a state and a ``reason`` where it did not end."""
    from ddbench.errors import BadInput, CutOff

    try:
        return named | do()
    except CutOff:
        raise
    except BadInput as error:
        return named | {"state": "bad input", "reason": str(error)}
    except Exception as error:  # whatever happened to one, the others go on
        log.debug("%s", named, exc_info=error)
        text = " ".join(str(error).split()) or "no message"
        return named | {"state": "failed", "reason": f"{type(error).__name__}: {text}"}


def finish(told: Sequence[Entry], *, as_json: bool) -> int:
    """Print what is to be told; 0 if all ended, 2 if only bad input kept some from it, else 1."""
    if as_json:
        print(json.dumps(told, indent=2))
    unfinished = [entry for entry in told if "reason" in entry]
    for entry in unfinished:
        place = f"{entry['recipe']} seed {entry['seed']}"
        print(f"ddbench: {place}: {entry['state']}: {entry['reason']}", file=sys.stderr)
    if not unfinished:
        return 0
    return 2 if all(entry["state"] == "bad input" for entry in unfinished) else 1
