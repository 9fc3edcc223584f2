"""Whether an objective function can be sent to a process, and if not, which part of it is at fault."""

from __future__ import annotations

import pickle
from functools import partial
from types import FunctionType, MethodType

from ..errors import ArgumentError
from ..text import brief, one_line
from ..trial import Objective


def check_picklable(objective_function: Objective) -> None:
    """Raises ArgumentError, naming what is at fault, unless the objective function can be sent to a process."""
    try:
        pickle.dumps(objective_function)
    except Exception as error:
        raise pickling_error(objective_function, error) from error


def pickling_error(objective_function: Objective, error: BaseException) -> ArgumentError:
    """Return the error that names the part of the objective function that cannot be pickled."""
    where, part = unpicklable_part('objective_function', objective_function)
    accepted = (
        f'what pickle can send to another process; {where} is {brief(part, 80)}, which it cannot ({one_line(error)}). '
        'Define the function at the top of a module, make what it holds inside the call, or take an executor of '
        'threads, or one that pickles by value (loky, Dask)'
    )
    return ArgumentError('objective_function', objective_function, accepted)


def unpicklable_part(name: str, value: object) -> tuple[str, object]:
    """Return the innermost attribute, element or argument of `value` that cannot be pickled: its path and itself."""
    parts: dict[str, object] = {}
    if isinstance(value, partial):
        parts = {f'{name}.func': value.func} | {f'{name}.args[{i}]': v for i, v in enumerate(value.args)}
        parts |= {f'{name}.keywords[{k!r}]': v for k, v in value.keywords.items()}
    elif isinstance(value, MethodType):
        parts = {f'{name}.__self__': value.__self__}
    elif isinstance(value, dict):
        parts = {f'{name}[{k!r}]': v for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {f'{name}[{i}]': v for i, v in enumerate(value)}
    elif not isinstance(value, (type, FunctionType)):
        parts = {f'{name}.{k}': v for k, v in getattr(value, '__dict__', {}).items()}
    for path, part in parts.items() if len(name) < 200 else ():
        try:
            pickle.dumps(part)
        except Exception:
            return unpicklable_part(path, part)
    return name, value


def is_about_pickling(error: BaseException) -> bool:
    """Return whether an engine says that what it was given cannot be sent."""
    says = 'pickle' in str(error) or 'local object' in str(error)  # the latter is Python 3.13's word for a lambda
    return isinstance(error, pickle.PicklingError) or (isinstance(error, (TypeError, AttributeError)) and says)
