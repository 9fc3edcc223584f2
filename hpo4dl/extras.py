"""Packages that `pip install hpo4dl` does not bring."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import HPO4DLError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional package; raise an HPO4DLError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise HPO4DLError(f'this needs {module}: pip install "hpo4dl[{extra}]" ({error})') from error
