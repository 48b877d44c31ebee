"""Names of a module that come from others, which are imported when a name is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_from(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `module` that imports names on first use.

    `homes` maps each name to the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = getattr(import_module(f"do_bridge.{homes[name]}"), name)
        setattr(sys.modules[module], name, found)
        return found

    return get
