"""The command that goes on with a run, for the last line of a race."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path


def command_to_go_on(run_folder: Path, function: object) -> str | None:
    """What to type to go on with a run, of this objective function; None: no command can."""
    if (run_folder / 'command.json').is_file():  # of `hpo4dl run`
        return f'hpo4dl resume {shlex.quote(str(run_folder))}'
    name = importable(function)
    if not name or __package__ != 'hpo4dl.tools':  # the command is that of another copy
        return None
    return f'hpo4dl resume {shlex.quote(str(run_folder))} {shlex.quote(name)}'


def importable(function: object) -> str:
    """Return the name by which another process imports a function: MODULE:NAME or FILE.py:NAME; empty: by none."""
    name, module = getattr(function, '__qualname__', ''), sys.modules.get(getattr(function, '__module__', None) or '')
    if not name or '<' in name or getattr(module, name.partition('.')[0], None) is None:
        return ''
    if module is None or module.__name__ != '__main__':
        return f'{module.__name__}:{name}' if module is not None else ''
    file = getattr(module, '__file__', None) or ''
    with suppress(OSError, ValueError):  # the folder that we are in was removed; or it is on another drive
        file = os.path.relpath(file)
    return f'{file}:{name}' if file else ''
