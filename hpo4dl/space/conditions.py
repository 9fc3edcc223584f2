"""When a hyperparameter is active: ConfigSpace's conditions as comparisons of coordinates.

The coordinate of an inactive one is NaN, which is unequal to every number and neither below nor above
one: an inactive parent meets no condition but "differs".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from ..trial import Array
from .transforms import UnitTransform

Condition = Callable[[Array], NDArray[np.bool_]]
"""Takes points (n, d) to whether each of them meets it."""

RELATIONS = {'LessThanCondition': np.less, 'GreaterThanCondition': np.greater, 'NotEqualsCondition': np.not_equal}


def compile_conditions(space: ConfigurationSpace, transforms: Mapping[str, UnitTransform]) -> dict[int, Condition]:
    """Return the condition of each conditional hyperparameter by its column in `points`, parents before children."""
    columns = {name: j for j, name in enumerate(transforms)}

    def compiled(condition: Any) -> Condition:
        kind = type(condition).__name__
        if hasattr(condition, 'components'):
            both = np.logical_and if kind == 'AndConjunction' else np.logical_or
            return partial(_joined, both.reduce, [compiled(component) for component in condition.components])
        parent = condition.parent.name
        values = condition.values if kind == 'InCondition' else [condition.value]
        u = np.array([transforms[parent].condition_value(value) for value in values])
        return partial(_compared, RELATIONS.get(kind, np.isin), columns[parent], u)

    conditions = {_comparisons(condition)[0].child.name: condition for condition in space.conditions}
    parents = {child: {c.parent.name for c in _comparisons(condition)} for child, condition in conditions.items()}
    ordered = [name for name in TopologicalSorter(parents).static_order() if name in conditions]
    return {columns[child]: compiled(conditions[child]) for child in ordered}


def deactivate(points: Array, conditions: Mapping[int, Condition]) -> Array:
    """Set NaN, in place, where conditions are not met, and return the points."""
    for child, is_met in conditions.items():
        points[~is_met(points), child] = np.nan
    return points


def _compared(relation: Any, parent: int, u: Array, points: Array) -> NDArray[np.bool_]:
    return np.asarray(relation(points[:, parent], u))


def _joined(reduction: Any, parts: Sequence[Condition], points: Array) -> NDArray[np.bool_]:
    return np.asarray(reduction([is_met(points) for is_met in parts]))


def _comparisons(condition: Any) -> list[Any]:
    """Return the conditions on a single parent that a condition of ConfigSpace is made of."""
    if not hasattr(condition, 'components'):
        return [condition]
    return [comparison for component in condition.components for comparison in _comparisons(component)]
