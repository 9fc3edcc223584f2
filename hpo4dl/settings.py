"""What a run needs, beside its objective function and configuration space, to be continued from its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_path,
    check_seed,
    check_size,
)
from .errors import ArgumentError, JournalError
from .optimizers.registry import OPTIMIZERS
from .records.checkpoints import KEEP, MODES
from .records.run_folder import read_settings
from .surrogate.device import check_device


@dataclass(frozen=True)
class Settings:
    """The tuner's arguments as they are used, and as `settings.json` holds them. `Tuner` says what each means."""

    max_epochs: int
    max_budget: int | None
    optimizer: str | None
    """None: an object that the user gave."""
    minimize: bool
    num_configurations: int
    seed: int
    device: str | None
    storage_path: str | None
    time_limit: float | None
    target: float | None
    initial_configurations: list[dict[str, Any]]
    candidates: list[dict[str, Any]] | None
    keep_checkpoints: str
    checkpoints: str = 'copy'
    max_disk: int | None = None
    """Bytes."""
    retry: int = 0
    trial_timeout: float | None = None
    stop_when_gain_below: float | None = None

    @classmethod
    def checked(cls, **given: Any) -> Settings:
        """Settings of these arguments; raises ArgumentError about the first that cannot be used."""
        return cls(**{name: CHECKS[name](name, value) for name, value in given.items()})

    def replaced(self, **given: Any) -> Settings:
        """The same, but for those of the arguments that are not None; raises ArgumentError."""
        return Settings.checked(**asdict(self) | {name: value for name, value in given.items() if value is not None})

    @classmethod
    def read(cls, run_folder: Path) -> Settings:
        """The settings of a run; raises JournalError where they cannot be used."""
        stored, path = read_settings(run_folder), run_folder / 'settings.json'
        unknown = set(stored) - {field.name for field in fields(cls)}
        if unknown:
            raise JournalError(f'{path}: written by a newer hpo4dl: unknown settings {sorted(map(str, unknown))}')
        try:
            return cls.checked(**stored)
        except (ArgumentError, TypeError) as error:
            raise JournalError(f'{path}: cannot be used, so there is no run to resume: {error}') from error


Check = Callable[[str, Any], Any]


def optional(check: Check) -> Check:
    """The check, of an argument that may be None."""
    return lambda name, value: None if value is None else check(name, value)


def check_positive(name: str, value: Any) -> float:
    """`value` as a float; raises ArgumentError unless it is finite and > 0."""
    return check_number(name, value, positive=True)


def check_configurations(name: str, value: Any) -> list[dict[str, Any]]:
    """`value`; raises ArgumentError unless it is a list of dictionaries."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ArgumentError(name, value, 'a list of configurations')
    return value


def check_absolute(name: str, value: Any) -> str:
    """`value` as an absolute path; raises ArgumentError unless it is a path."""
    return os.path.abspath(check_path(name, value))


CHECKS: dict[str, Check] = {
    'max_epochs': check_count,
    'max_budget': optional(check_count),
    'optimizer': optional(lambda name, value: check_choice(name, value, tuple(OPTIMIZERS))),
    'minimize': check_flag,
    'num_configurations': check_count,
    'seed': lambda name, value: check_seed(value),
    'device': lambda name, value: check_device(value),
    'storage_path': optional(check_absolute),
    'time_limit': optional(check_positive),
    'target': optional(check_number),
    'stop_when_gain_below': optional(check_positive),
    'initial_configurations': check_configurations,
    'candidates': optional(check_configurations),
    'keep_checkpoints': lambda name, value: check_choice(name, value, KEEP),
    'checkpoints': lambda name, value: check_choice(name, value, MODES),
    'max_disk': optional(check_size),
    'retry': lambda name, value: check_count(name, value, least=0),
    'trial_timeout': optional(check_positive),
}
"""By field: returns the value as it is used, or raises ArgumentError."""
