"""Finding plug-ins by location: every public module of a package is one plug-in.

Methods, networks, dataset families, protocols and importers are added by adding one file; there is
no central list. Third parties add theirs by entry points of the group named like the package.
Looking up imports only the module asked for; those modules import no torch at their top.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from ddbench.errors import BadInput


@cache
def names(package: str) -> tuple[str, ...]:
    """Sorted names of the plug-ins in ``package`` (``ddbench.methods``, ...)."""
    found = importlib.util.find_spec(package)
    locations = list(found.submodule_search_locations or []) if found else []
    local = [info.name for info in pkgutil.iter_modules(locations) if info.name[0] != "_"]
    foreign = [entry.name for entry in _foreign(package)]
    repeated = sorted({name for name in local + foreign if (local + foreign).count(name) > 1})
    if repeated:
        raise RuntimeError(f"two plug-ins of {package} have one name: {', '.join(repeated)}")
    return tuple(sorted(local + foreign))


@cache
def _foreign(package: str) -> tuple[EntryPoint, ...]:
    """Entry points of third parties; reading the installed packages' metadata takes a while."""
    return tuple(entry_points(group=package))


def load(package: str, name: str) -> ModuleType:
    """The module of plug-in ``name``; ``KeyError`` if ``names(package)`` does not have it."""
    if name not in names(package):
        raise KeyError(name)
    for entry in _foreign(package):
        if entry.name != name:
            continue
        module = entry.load()
        assert isinstance(module, ModuleType), f"entry point {name} of {package} is no module"
        return module
    try:
        return importlib.import_module(f"{package}.{name}")
    except BadInput:
        raise
    except Exception as error:  # somebody's file: any kind of mistake
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"plug-in {package}.{name} cannot be loaded ({text})") from error
