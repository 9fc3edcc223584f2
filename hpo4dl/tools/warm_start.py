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
from ..space.transforms import Choices, Coordinate, Number, hyperparameter_coordinate
from ..space.unit_cube import Space
from ..trial import Configuration


@dataclass(frozen=True)
class WarmStart:
    """What a previous run gives to a new one; `str` of it says what carries over, for people."""

    configurations: list[Configuration]
    """Legal in the new space, the best one of the previous run first."""
    notes: list[str]
    """For every hyperparameter of the new space and the old one, what became of its values."""

    def __str__(self) -> str:
        heading = f'configurations that carry over: {len(self.configurations)}'
        return '\n'.join([heading, *(f'  {note}' for note in self.notes)])


def warm_start(
    run_folder: str | os.PathLike[str],
    configuration_space: ConfigurationSpace,
    count: int = 10,
    candidates: Sequence[Mapping[str, object]] | None = None,
) -> WarmStart:
    """Read a run's folder; `Tuner(..., initial_configurations=warm_start(RUN, space).configurations)` uses it.

    A value that the new space allows is kept. A number that it does not allow becomes the nearest one that it does. An
    unknown category, and what was inactive or not there, becomes the default. What the new space does not have, or has
    inactive, is dropped; so are configurations that it forbids, and those that have become the same.

    Args:
        run_folder: the folder of the previous run, finished or not. Nothing in it is changed.
        configuration_space: what the new run is to search.
        count: configurations at most, default 10; trials that failed are left out.
        candidates: what the new run is restricted to; others are dropped.

    Raises:
        ArgumentError: an argument cannot be used.
        JournalError: the folder holds no run.
    """
    space = Space(configuration_space, candidates)
    listed = None if candidates is None else space.all_points
    allowed = None if listed is None else {point.tobytes() for point in listed}
    check_count('count', count)
    run = read_run(run_folder)
    if 'minimize' not in run.settings:
        raise JournalError(f'{run.folder}: holds no run to start from: {"; ".join(run.notes)}')
    ranked = [t.configuration for t in run.ranked() if t.failed is None and t.configuration][:count]
    columns = {name: hyperparameter_coordinate(configuration_space[name]) for name in space.names}
    became: dict[str, list[str]] = {name: [] for name in space.names}
    found: dict[bytes, Configuration] = {}
    forbidden = repeated = 0
    for old in ranked:
        carried = {
            name: carry(space, name, column, old, configuration_space[name].default_value)
            for name, column in columns.items()
        }
        configuration = space.active({name: value for name, (value, _) in carried.items()})
        for name, (_, what) in carried.items():
            became[name].append(what if name in configuration else 'inactive')
        try:
            point = space.to_unit(configuration)
        except ArgumentError:
            forbidden += 1
            continue
        if allowed is not None and point.tobytes() not in allowed:
            forbidden += 1
        elif point.tobytes() in found:
            repeated += 1
        else:
            found[point.tobytes()] = space.from_unit(point)
    notes = [f'{name}: {summary(kinds)}' for name, kinds in became.items() if kinds]
    gone = dict.fromkeys(name for old in ranked for name in old if name not in columns)
    notes += [f'{name}: dropped, it is not in the new space' for name in gone]
    if forbidden:
        notes.append(f'left out, since the new space forbids them: {forbidden}')
    if repeated:
        notes.append(f'left out, since they have become the same as a better one: {repeated}')
    return WarmStart(list(found.values()), notes)


def carry(space: Space, name: str, column: Coordinate, old: Mapping[str, Any], default: Any) -> tuple[Any, str]:
    """The value that a hyperparameter gets from an old configuration, and what that is."""
    if name not in old:
        return default, f'{plain(default)}, the default'
    try:
        value = space.restore({name: old[name]})[name]
    except ArgumentError:  # a category that is not there
        value = old[name]
    if column.locate(value) is not None:
        return value, 'kept'
    near = nearest(column, value)
    if near is not None and column.locate(near) is not None:
        return near, 'the nearest allowed value'
    return default, f'{plain(default)}, the default'


def nearest(column: Coordinate, value: Any) -> float | int | None:
    """The allowed number nearest to `value`; None where the hyperparameter takes no numbers, or `value` is none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    if isinstance(column, Number):
        within = min(max(float(value), column.lower), column.upper)
        return round(within) if column.whole else within
    if isinstance(column, Choices) and column.kind == 'number':
        number: float | int = min(column.values, key=lambda known: abs(known - float(value)))
        return number
    return None


def summary(kinds: list[str]) -> str:
    """How many values became what."""
    if len(set(kinds)) == 1:
        return kinds[0]
    return '; '.join(f'{kinds.count(kind)} of {len(kinds)} {kind}' for kind in dict.fromkeys(kinds))


def plain(value: Any) -> str:
    """A default value as text."""
    return repr(value.item() if hasattr(value, 'item') else value)
