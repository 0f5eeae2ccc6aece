"""Imports of scipy.stats, and of what imports it, also where torch is blocked."""

import importlib
import sys
from types import ModuleType


def imported(name: str) -> ModuleType:
    """Import a module while it is needed, also where torch is None in ``sys.modules``.

    scipy takes that None, by which tests block torch, for the module and trips over it.
    """
    blocked = "torch" in sys.modules and sys.modules["torch"] is None
    if blocked:
        del sys.modules["torch"]
    try:
        return importlib.import_module(name)
    finally:
        if blocked:
            sys.modules["torch"] = None  # type: ignore[assignment]  # as it was
