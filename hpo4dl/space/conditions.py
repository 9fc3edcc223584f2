"""When a hyperparameter is active: ConfigSpace's conditions as comparisons of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from ..trial import Array
from .transforms import Coordinate

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Condition:
    """A condition on one parent: how its coordinate compares with those of given values."""

    parent: int
    relation: Any
    u: Array

    def is_met(self, points: Array) -> Mask:
        """(n,) of points (n, d)."""
        return np.asarray(self.relation(points[:, self.parent], self.u))


RELATIONS = {
    'LessThanCondition': np.less,
    'GreaterThanCondition': np.greater,
    'NotEqualsCondition': np.not_equal,  # an inactive parent differs from every value
}


@dataclass(frozen=True)
class Junction:
    """Several conditions, all or any of which are to be met."""

    reduction: Any
    parts: Sequence[Condition | Junction]

    def is_met(self, points: Array) -> Mask:
        """(n,) of points (n, d)."""
        return np.asarray(self.reduction([part.is_met(points) for part in self.parts]))


def compile_conditions(
    space: ConfigurationSpace, names: Sequence[str], columns: Sequence[Coordinate]
) -> dict[str, Condition | Junction]:
    """The condition of each conditional hyperparameter, parents before their children."""

    def compiled(condition: Any) -> Condition | Junction:
        kind = type(condition).__name__
        if hasattr(condition, 'components'):
            both = np.logical_and if kind == 'AndConjunction' else np.logical_or
            return Junction(both.reduce, [compiled(component) for component in condition.components])
        parent = names.index(condition.parent.name)
        values = condition.values if kind == 'InCondition' else [condition.value]
        compared = np.array([columns[parent].threshold(value) for value in values])
        return Condition(parent, RELATIONS.get(kind, np.isin), compared)

    conditions = {_literals(condition)[0].child.name: condition for condition in space.conditions}
    parents = {child: {literal.parent.name for literal in _literals(conditions[child])} for child in conditions}
    ordered = [name for name in TopologicalSorter(parents).static_order() if name in conditions]
    return {child: compiled(conditions[child]) for child in ordered}


def _literals(condition: Any) -> list[Any]:
    """The conditions on a single parent that it is made of."""
    if not hasattr(condition, 'components'):
        return [condition]
    return [literal for component in condition.components for literal in _literals(component)]
