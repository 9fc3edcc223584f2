"""The command that goes on with a run, for the last line of a race."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path


def command_to_go_on(run_folder: Path, function: object, finish: int | None) -> str | None:
    """What to type to go on with a run of this objective function, or to `finish` so many trials; None: no command."""
    is_program = (run_folder / 'command.json').is_file()  # of `hpo4dl run`
    name = '' if is_program else importable(function)
    if not (is_program or name) or __package__ != 'hpo4dl.tools':  # the command is that of another copy
        return None
    words = ['hpo4dl', 'resume' if finish is None else 'finish', str(run_folder), *([name] if name else [])]
    return shlex.join(words if finish is None else [*words, '--top', str(finish)])


def importable(function: object) -> str:
    """Return the name by which another process imports a function: MODULE:NAME or FILE.py:NAME; empty: by none."""
    name, module = getattr(function, '__qualname__', ''), sys.modules.get(getattr(function, '__module__', None) or '')
    if not name or '<' in name or getattr(module, name.partition('.')[0], None) is None:
        return ''
    if module is None:
        return ''
    file = getattr(module, '__file__', None) or ''
    if module.__name__ != '__main__' and (module.__package__ or not file.endswith('.py')):
        return f'{module.__name__}:{name}'
    with suppress(OSError, ValueError):  # the folder that we are in was removed; or it is on another drive
        file = os.path.relpath(file)
    return f'{file}:{name}' if file else ''
