"""The best configurations of a previous run, to begin another one with, in the same space or a changed one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ConfigSpace import ConfigurationSpace

from ..analysis.run import read_run
from ..checks import check_count
from ..errors import ArgumentError, JournalError
from ..space.declaration import as_space
from ..space.transforms import Number, SmallInteger, UnitTransform, native
from ..space.unit_cube import Space
from ..trial import Configuration


@dataclass(frozen=True)
class WarmStart:
    """What an earlier run gives to a new one. Printed, it says what carries over."""

    configurations: list[Configuration]
    """Legal in the new space, the best one of the earlier run first."""
    notes: list[str]
    """For every hyperparameter of the new space and the old one, what became of its values."""

    def __str__(self) -> str:
        heading = f'configurations that carry over: {len(self.configurations)}'
        return '\n'.join([heading, *(f'  {note}' for note in self.notes)])


def warm_start(
    run_folder: str | os.PathLike[str],
    configuration_space: ConfigurationSpace | dict[str, Any],
    count: int = 10,
    candidates: Sequence[Mapping[str, object]] | None = None,
) -> WarmStart:
    """Return the best configurations of an earlier run, fit for `Tuner(..., initial_configurations=...)`.

    A value that the new space allows is kept. A number that it does not allow becomes the nearest one that it does. An
    unknown category, and what was inactive or not there, becomes the default. What the new space does not have, or has
    inactive, is dropped; so are configurations that it forbids, and those that have become the same.

    Args:
        run_folder: the folder of the earlier run, which may go on. Nothing in it is changed. 'last': the newest one
            below the current folder.
        configuration_space: what the new run is to search, as in `Tuner`.
        count: configurations at most, default 10; trials that failed are left out.
        candidates: what the new run is restricted to, as in `Tuner`; others are dropped.

    Raises:
        ArgumentError: an argument cannot be used.
        JournalError: the folder holds no run.
    """
    configspace: ConfigurationSpace = as_space(configuration_space)
    space = Space(configspace, candidates)
    allowed = set() if candidates is None or space.all_points is None else {p.tobytes() for p in space.all_points}
    check_count('count', count)
    run = read_run(run_folder)
    if 'minimize' not in run.settings:
        raise JournalError(f'{run.folder}: holds no run to start from: {"; ".join(run.notes)}')
    ranked = [t.configuration for t in run.ranked() if t.failed is None and t.configuration][:count]
    became: dict[str, list[str]] = {name: [] for name in space.names}
    found: dict[bytes, Configuration] = {}
    forbidden = repeated = 0
    for old in ranked:
        carried = {name: carried_value(space, name, old, configspace[name].default_value) for name in became}
        configuration = space.only_active({name: value for name, (value, _) in carried.items()})
        for name, (_, what) in carried.items():
            became[name].append(what if name in configuration else 'inactive')
        try:
            point = space.to_unit(configuration)
        except ArgumentError:
            forbidden += 1
            continue
        if allowed and point.tobytes() not in allowed:
            forbidden += 1
        elif point.tobytes() in found:
            repeated += 1
        else:
            found[point.tobytes()] = space.from_unit(point)
    notes = [f'{name}: {counted(outcomes)}' for name, outcomes in became.items() if outcomes]
    gone = dict.fromkeys(name for old in ranked for name in old if name not in became)
    notes += [f'{name}: dropped, it is not in the new space' for name in gone]
    if forbidden:
        notes.append(f'left out, since the new space forbids them: {forbidden}')
    if repeated:
        notes.append(f'left out, since they have become the same as a better one: {repeated}')
    return WarmStart(list(found.values()), notes)


def carried_value(space: Space, name: str, old: Mapping[str, Any], default: Any) -> tuple[Any, str]:
    """Return the value that a hyperparameter gets from an old configuration, and what it is in words."""
    if name in old:
        try:
            value = space.restore({name: old[name]})[name]
        except ArgumentError:  # a category that is not there
            value = old[name]
        near, to_unit = nearest_number(space.transforms[name], value), space.transforms[name].to_unit
        if to_unit(value) is not None:
            return value, 'kept'
        if near is not None and to_unit(near) is not None:
            return near, 'the nearest allowed value'
    return default, f'{native(default)!r}, the default'


def nearest_number(transform: UnitTransform, value: Any) -> float | int | None:
    """Return the allowed number nearest to `value`; None where the hyperparameter, or `value`, is no number."""
    if not isinstance(value, Real) or isinstance(value, bool) or not isinstance(transform, (Number, SmallInteger)):
        return None
    if isinstance(transform, SmallInteger):
        return int(min(transform.values, key=lambda known: abs(known - float(value))))
    within = min(max(float(value), transform.lower), transform.upper)
    return round(within) if transform.whole else within


def counted(outcomes: list[str]) -> str:
    """Return how many values became what, in words."""
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return '; '.join(f'{outcomes.count(one)} of {len(outcomes)} {one}' for one in dict.fromkeys(outcomes))
