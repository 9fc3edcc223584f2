"""Checks of arguments: each returns the value as it is used, or raises an `ArgumentError`."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .errors import ArgumentError


def check_objective_function(value: object) -> None:
    """Raises ArgumentError unless `value` can be called with the four arguments."""
    accepted = 'a function (configuration, epoch, previous_epoch, checkpoint_path)'
    if not callable(value):
        raise ArgumentError('objective_function', value, accepted)
    if inspect.iscoroutinefunction(value):
        raise ArgumentError('objective_function', value, f'{accepted} that is not async')
    try:
        told = inspect.signature(value, follow_wrapped=False)
        told.bind({}, 1, 0, '')
    except TypeError as error:
        raise ArgumentError('objective_function', value, f'{accepted}; yours takes {told}: {error}') from None
    except ValueError:
        pass  # a builtin that does not tell its signature


def check_flag(argument: str, value: object) -> bool:
    """`value` as a bool; raises ArgumentError unless it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(argument, value, 'True or False')
    return bool(value)


def check_count(argument: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value` as an int; raises ArgumentError unless it is a whole number >= least, and <= most if that is given."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(argument, value, f'a whole number >= {least}')
    if most is not None and value > most:
        raise ArgumentError(argument, value, f'a whole number from {least} to {most}')
    return int(value)


def check_seed(value: object) -> int:
    """`value` as an int; None is a fresh one from the operating system. Raises ArgumentError unless it is >= 0."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if value is None else check_count('seed', value, least=0)


def check_number(argument: str, value: object, positive: bool = False) -> float:
    """`value` as a float; raises ArgumentError unless it is finite, and > 0 if asked."""
    number = math.nan
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        with suppress(OverflowError):  # of an int that no float can hold
            number = float(value)
    if not math.isfinite(number) or (positive and number <= 0):
        raise ArgumentError(argument, value, 'a finite number' + (' > 0' if positive else ''))
    return number


def check_path(argument: str, value: object) -> str:
    """`value` as a path; raises ArgumentError unless it is one."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ArgumentError(argument, value, 'a path')
    return str(os.fspath(value))


def check_name(argument: str, value: object) -> str:
    """`value`; raises ArgumentError unless it is a short text of characters that print."""
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise ArgumentError(argument, value, 'a text of 1 to 100 characters')
    return value


def check_list(argument: str, value: Any) -> Sequence[Any]:
    """Raises ArgumentError unless `value` is a list or a tuple."""
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(argument, value, 'a list')
    return value


def check_choice(argument: str, value: Any, choices: Sequence[str]) -> str:
    """Raises ArgumentError unless `value` is one of the choices."""
    if value not in choices:
        raise ArgumentError(argument, value, ' or '.join(map(repr, choices)))
    return str(value)


def check_size(argument: str, value: object) -> int:
    """Bytes, from a whole number or a text such as '20GB' or '512 MiB'; raises ArgumentError unless > 0."""
    size = value
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*(?:([kMGTP])(i?))?B\s*', value) if isinstance(value, str) else None
    if match:
        number, prefix, binary = match.groups()
        bytes_ = float(number) * (1024 if binary else 1000) ** ' kMGTP'.index(prefix or ' ')
        size = int(bytes_) if math.isfinite(bytes_) else 0
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size <= 0:
        raise ArgumentError(argument, value, "bytes > 0, as a whole number or a text such as '20GB' or '512MiB'")
    return int(size)
