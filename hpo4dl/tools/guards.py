"""Notices, before anything starts, a tuner where none is meant, and workers that could not import what they need."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from ..errors import ArgumentError, HPO4DLError

IMPORTING: ContextVar[bool] = ContextVar('IMPORTING', default=False)
"""Whether a command is importing the user's module."""
GUARD = "put what makes and runs the tuner under `if __name__ == '__main__':`"


def check_place(objective_function: object, processes: int) -> None:
    """Raises where no tuner is meant to be made, or so many processes could not import what they need.

    Raises:
        ArgumentError: the main module cannot be imported, or would tune again when it is.
        HPO4DLError: the script is only imported, by a command; a worker that imports it ends with a line.
    """
    if IMPORTING.get():
        raise HPO4DLError(f'the script makes a Tuner while it is imported for its objective function: {GUARD}')
    if getattr(multiprocessing.current_process(), '_inheriting', False):  # a spawned one, before its first call
        raise SystemExit(f'hpo4dl: a worker imports the script, which makes another Tuner: {GUARD}')
    if processes:
        check_main(objective_function, processes)


def check_main(objective_function: object, num_workers: int) -> None:
    """Raises ArgumentError where processes, which import the main module, could not do so, or would tune again."""
    while isinstance(objective_function, partial):
        objective_function = objective_function.func
    main = sys.modules['__main__']
    file = getattr(main, '__file__', None)
    place = getattr(objective_function, '__module__', None)  # of an instance, that of its class
    if file is None and place == '__main__':
        accepted = (
            'a function that processes can import; those of a notebook they cannot. Either write it to a file '
            '(`%%writefile objective.py` as the first line of its cell) and import it from there, or give an executor '
            f'of threads (executor=concurrent.futures.ThreadPoolExecutor({num_workers})), or one of loky or Dask'
        )
        raise ArgumentError('objective_function', objective_function, accepted)
    if file is not None and is_unguarded(vars(main), file):
        accepted = f'1 without trial_timeout and devices, or a script that its processes can import: {GUARD}'
        raise ArgumentError('num_workers', num_workers, accepted)


def is_unguarded(names: object, file: str) -> bool:
    """Return whether the statement of the main module that is running now is under no `if`."""
    frame = sys._getframe()
    while frame.f_globals is not names or frame.f_code.co_name != '<module>':
        if frame.f_back is None:
            return False
        frame = frame.f_back
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    return not any(guard.lineno <= frame.f_lineno <= (guard.end_lineno or 0) for guard in guards)
