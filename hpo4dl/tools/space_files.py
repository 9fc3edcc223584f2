"""Search spaces in TOML and JSON files, in the form of `declaration.py`."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from ..errors import ArgumentError
from ..files import read_regular
from ..space.declaration import as_space
from ..text import one_line


def read_declaration(path: Path) -> dict[str, Any]:
    """Return what a TOML or JSON file holds, unchecked; raise ArgumentError about `space` where it cannot be read."""
    try:
        text = read_regular(path).decode()
        toml = 'tomllib' if sys.version_info >= (3, 11) else 'tomli'
        content = json.loads(text) if path.suffix == '.json' else importlib.import_module(toml).loads(text)
    except (OSError, ValueError, ImportError, RecursionError) as error:  # both parsers' errors are ValueErrors
        raise ArgumentError('space', str(path), f'a TOML or JSON file ({one_line(error)})') from error
    if not isinstance(content, dict):
        raise ArgumentError('space', str(path), 'a file with a table of hyperparameters')
    return content


def read_space_file(path: Path) -> Any:
    """Return the space in a TOML or JSON file, or in ConfigSpace's own JSON; raise ArgumentError."""
    content = read_declaration(path)
    if not isinstance(content.get('hyperparameters'), list):
        return as_space(content)
    try:
        return ConfigurationSpace.from_json(io.StringIO(json.dumps(content)))
    except Exception as error:  # whatever ConfigSpace raises
        raise ArgumentError('space', str(path), f'a file that ConfigSpace reads ({one_line(error)})') from error


def to_toml(declared: Mapping[str, Any]) -> str:
    """Return the dictionary as TOML, a line a hyperparameter."""
    lines = []
    for name, entry in declared.items():
        pairs = ', '.join(f'{key} = {_toml_value(value)}' for key, value in entry.items())
        key = name if re.fullmatch(r'[\w-]+', name, re.ASCII) else _toml_value(name)
        lines.append(f'{key} = {{{pairs}}}\n')
    return ''.join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_toml_value, value))}]'
    return json.dumps(value, ensure_ascii=False).replace('\x7f', r'\u007f')  # JSON's scalars are TOML's
