"""Tables of learning curves: what the files hold, and which row a configuration stands for.

A table is an npz file. n configurations, T epochs:

    configurations  (n,) JSON texts, active hyperparameters only
    space           JSON, see `space_of`
    metric          (n, T) to be maximized, NaN from divergence on
    cost            (n, T) what each epoch costs; may be missing
    test            (n, T) an independent metric; may be missing

The files of TaskSet, and those that `real/tables.py` makes, have other names for these, and no space: they are read
into the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ConfigSpace
import numpy as np

REAL_SPACE: list[dict[str, Any]] = [
    {'name': 'optimizer', 'kind': 'categorical', 'values': ['sgd', 'adam', 'adamw', 'rmsprop']},
    {'name': 'momentum', 'kind': 'float', 'low': 0.0, 'high': 0.99, 'if': {'optimizer': ['sgd']}},
    {'name': 'nesterov', 'kind': 'categorical', 'values': [False, True], 'if': {'optimizer': ['sgd']}},
    {'name': 'beta1', 'kind': 'float', 'low': 0.5, 'high': 0.99, 'if': {'optimizer': ['adam', 'adamw']}},
    {'name': 'schedule', 'kind': 'categorical', 'values': ['constant', 'cosine', 'step']},
    {'name': 'step_factor', 'kind': 'float', 'low': 0.1, 'high': 0.9, 'if': {'schedule': ['step']}},
    {'name': 'learning_rate', 'kind': 'float', 'low': 1e-5, 'high': 1.0, 'log': True},
    {'name': 'batch_size', 'kind': 'int', 'low': 16, 'high': 512, 'log': True},
    {'name': 'layers', 'kind': 'int', 'low': 1, 'high': 4},
    {'name': 'width', 'kind': 'int', 'low': 16, 'high': 512, 'log': True},
    {'name': 'dropout', 'kind': 'float', 'low': 0.0, 'high': 0.8},
    {'name': 'weight_decay', 'kind': 'float', 'low': 1e-7, 'high': 1e-1, 'log': True},
    {'name': 'activation', 'kind': 'categorical', 'values': ['relu', 'tanh', 'gelu']},
    {'name': 'label_smoothing', 'kind': 'float', 'low': 0.0, 'high': 0.3},
    {'name': 'norm', 'kind': 'categorical', 'values': ['none', 'batch', 'layer']},
]
"""The space of `real/tables.py`."""


class Table(NamedTuple):
    configurations: list[dict[str, Any]]
    space: ConfigSpace.ConfigurationSpace
    metric: np.ndarray
    """(n, T), NaN from divergence on."""
    minimize: bool = False
    cost: np.ndarray | None = None
    """(n, T), finite."""
    test: np.ndarray | None = None
    """(n, T)."""


def read(file: Path) -> Table:
    """The table in that file."""
    with np.load(file) as archive:
        arrays = {name: archive[name].astype(float) if archive[name].ndim == 2 else archive[name] for name in archive}
    if 'valid_loss' in arrays and 'names' in arrays:  # TaskSet
        names = [str(name) for name in arrays['names']]
        rows = [dict(zip(names, map(float, row))) for row in arrays['configurations']]
        space = space_around(file.stem, names, arrays['configurations'])
        return Table(rows, space, arrays['valid_loss'], minimize=True, test=arrays.get('test_loss'))
    rows = [json.loads(str(text)) for text in arrays['configurations']]
    if 'valid_accuracy' in arrays:  # real/tables.py
        diverged = np.maximum.accumulate(~np.isfinite(arrays['valid_loss']), axis=1)
        metric = np.where(diverged, np.nan, arrays['valid_accuracy'])
        space = space_of(file.stem, REAL_SPACE)
        return Table(rows, space, metric, cost=filled(arrays['seconds']), test=arrays['test_accuracy'])
    cost = filled(arrays['cost']) if 'cost' in arrays else None
    space = space_of(file.stem, json.loads(str(arrays['space'])))
    return Table(rows, space, arrays['metric'], cost=cost, test=arrays.get('test'))


def filled(cost: np.ndarray) -> np.ndarray:
    """(n, T) costs; an epoch after divergence, whose cost nobody measured, costs what its row does in the mean."""
    known = np.isfinite(cost)
    of_row = np.where(known, cost, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    of_row = np.where(known.any(axis=1), of_row, cost[known].mean())
    return np.where(known, cost, of_row[:, None])


def space_of(name: str, entries: list[dict[str, Any]]) -> ConfigSpace.ConfigurationSpace:
    """The space that a list of hyperparameters describes.

    Each has `name` and `kind`: float or int with `low`, `high` and perhaps `log`; ordinal or categorical with `values`.
    With `if`, it is active where the one that is named there has one of the values that are listed.
    """
    space = ConfigSpace.ConfigurationSpace(name=name)
    for entry in entries:
        name, kind = entry['name'], entry['kind']
        if kind in ('float', 'int'):
            make = ConfigSpace.Float if kind == 'float' else ConfigSpace.Integer
            space.add(make(name, (entry['low'], entry['high']), log=entry.get('log', False)))
        else:
            space.add(ConfigSpace.Categorical(name, entry['values'], ordered=kind == 'ordinal'))
    for entry in entries:
        for parent, values in entry.get('if', {}).items():
            space.add(ConfigSpace.InCondition(space[entry['name']], space[parent], values))
    return space


def space_around(name: str, names: list[str], rows: np.ndarray) -> ConfigSpace.ConfigurationSpace:
    """The box around (n, d) rows, with logs where a column ranges over more than a factor of 100."""
    space = ConfigSpace.ConfigurationSpace(name=name)
    for column, values in zip(names, rows.T):
        low, high = float(values.min()), float(values.max())
        log = low > 0 and high / low > 100
        # A little wider, since ConfigSpace rounds bounds to 13 decimals.
        low, high = (low * 0.99, high * 1.01) if log else (low - 1e-9, high + 1e-9)
        space.add(ConfigSpace.Float(column, (low, high), log=log))
    return space


def is_active(space: ConfigSpace.ConfigurationSpace, name: str, configuration: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter is active; the ones that decide it come earlier in the space."""
    return all(condition.satisfied_by_value(dict(configuration)) for condition in space.parent_conditions_of[name])


def key(space: ConfigSpace.ConfigurationSpace, configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """What a row of a table is found by, though some tuners return its values rounded, or of another type."""
    values = [configuration.get(name) for name in space]
    numbers = (int, float, np.number, np.bool_)
    return tuple(f'{float(v):.9g}' if isinstance(v, numbers) else str(v) for v in values)


def unit(space: ConfigSpace.ConfigurationSpace, configuration: Mapping[str, Any]) -> list[float]:
    """Coordinates from 0 to 1 along each hyperparameter, on a log scale where it has one.

    Two categories are 1 apart. A hyperparameter that is inactive is in the middle.
    """
    coordinates: list[float] = []
    for name, hp in space.items():
        value = configuration.get(name)
        if isinstance(hp, ConfigSpace.CategoricalHyperparameter):
            coordinates += [np.sqrt(0.5) * (value == choice) for choice in hp.choices]
        elif value is None:
            coordinates.append(0.5)
        elif isinstance(hp, ConfigSpace.OrdinalHyperparameter):
            coordinates.append(hp.sequence.index(value) / max(len(hp.sequence) - 1, 1))
        else:
            scale = np.log if hp.log else float
            low, high = scale(hp.lower), scale(hp.upper)
            coordinates.append((scale(value) - low) / (high - low))
    return coordinates
