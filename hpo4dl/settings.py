"""What a run needs, beside its objective function and configuration space, to be continued from its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

from .checks import check_choice, check_count, check_flag, check_name, check_number, check_path, check_seed, check_size
from .errors import ArgumentError, JournalError
from .optimizers.registry import OPTIMIZERS
from .race.budget import UNITS
from .records.checkpoints import Keep, Mode
from .records.events import LARGEST
from .records.run_folder import read_settings
from .surrogate.device import check_device

MOST_CONFIGURATIONS = 10**7
"""That memory holds before a decision: a run that was received may ask for more."""


def argument(check: Callable[[str, Any], Any], *, optional: bool = False, default: Any = MISSING) -> Any:
    """Return a field that holds what `check` makes of the argument, or raises ArgumentError; `optional`: or None."""
    checked = check if not optional else lambda name, value: None if value is None else check(name, value)
    return field(default=default, metadata={'check': checked})


def check_positive(name: str, value: Any) -> float:
    """`value` as a float; raises ArgumentError unless it is finite and > 0."""
    return check_number(name, value, positive=True)


def check_configurations(name: str, value: Any) -> list[dict[str, Any]]:
    """`value`; raises ArgumentError unless it is a list of dictionaries."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ArgumentError(name, value, 'a list of configurations')
    return value


@dataclass(frozen=True)
class Settings:
    """The tuner's arguments as they are used, and as `settings.json` holds them. `Tuner` says what each means."""

    max_epochs: int = argument(partial(check_count, most=LARGEST - 1))
    max_budget: float | None = argument(check_positive, optional=True)
    """In the unit that `cost` names; epochs are whole."""
    optimizer: str | None = argument(lambda name, value: check_choice(name, value, tuple(OPTIMIZERS)), optional=True)
    """None: an object that the user gave."""
    minimize: bool = argument(check_flag)
    num_configurations: int = argument(partial(check_count, most=MOST_CONFIGURATIONS))
    seed: int = argument(lambda name, value: check_seed(value))
    device: str | None = argument(lambda name, value: check_device(value))
    storage_path: str | None = argument(lambda name, value: os.path.abspath(check_path(name, value)), optional=True)
    time_limit: float | None = argument(check_positive, optional=True)
    target: float | None = argument(check_number, optional=True)
    initial_configurations: Sequence[dict[str, Any]] = argument(check_configurations)
    candidates: Sequence[dict[str, Any]] | None = argument(check_configurations, optional=True)
    keep_checkpoints: str = argument(lambda name, value: check_choice(name, value, get_args(Keep)))
    checkpoints: str = argument(lambda name, value: check_choice(name, value, get_args(Mode)), default='copy')
    max_disk: int | None = argument(check_size, optional=True, default=None)
    """Bytes."""
    retry: int = argument(lambda name, value: check_count(name, value, least=0), default=0)
    trial_timeout: float | None = argument(check_positive, optional=True, default=None)
    stop_when_gain_below: float | None = argument(check_positive, optional=True, default=None)
    metric_name: str = argument(check_name, default='metric')
    cost: str = argument(lambda name, value: check_choice(name, value, tuple(UNITS)), default='epochs')

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Settings:
        """Settings of those arguments that are such; raises ArgumentError about the first that cannot be used."""
        checks = {entry.name: entry.metadata['check'] for entry in fields(cls) if entry.name in given}
        if given.get('cost', 'epochs') == 'epochs':
            checks['max_budget'] = lambda name, value: None if value is None else check_count(name, value)
        return cls(**{name: check(name, given[name]) for name, check in checks.items()})

    def replaced(self, given: Mapping[str, Any]) -> Settings:
        """Return the same, but for those of the arguments that are settings and not None; raises ArgumentError."""
        return Settings.checked(asdict(self) | {name: value for name, value in given.items() if value is not None})

    @classmethod
    def read(cls, run_folder: Path) -> Settings:
        """Return the settings of a run; raises JournalError where they cannot be used."""
        stored, path = read_settings(run_folder), run_folder / 'settings.json'
        unknown = set(stored) - {field.name for field in fields(cls)}
        if unknown:
            raise JournalError(f'{path}: written by a newer hpo4dl: unknown settings {sorted(map(str, unknown))}')
        try:
            return cls.checked(stored)
        except (ArgumentError, KeyError, TypeError) as error:
            raise JournalError(f'{path}: cannot be used, so there is no run to resume: {error}') from error
