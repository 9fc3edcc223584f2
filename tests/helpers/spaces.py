"""Spaces for tests: hyperparameters in one word each, a space with one of each kind, and one as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ConfigSpace.hyperparameters as kinds
from ConfigSpace import (
    AndConjunction,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenInClause,
    ForbiddenLessThanRelation,
    GreaterThanCondition,
    InCondition,
    LessThanCondition,
)


def build(hyperparameters: Sequence[Any], conditions: Sequence[Any] = (), forbidden: Sequence[Any] = ()) -> Any:
    """A ConfigurationSpace of these."""
    space = ConfigurationSpace()
    space.add([*hyperparameters, *conditions, *forbidden])
    return space


def uniform(name: str = 'x', lower: float = 0.0, upper: float = 1.0, **options: Any) -> Any:
    return kinds.UniformFloatHyperparameter(name, lower, upper, **options)


def integer(name: str = 'x', lower: int = 0, upper: int = 9, **options: Any) -> Any:
    return kinds.UniformIntegerHyperparameter(name, lower, upper, **options)


def category(name: str = 'x', choices: Sequence[Any] = 'abc', **options: Any) -> Any:
    return kinds.CategoricalHyperparameter(name, list(choices), **options)


def ordinal(name: str = 'x', sequence: Sequence[Any] = 'abc') -> Any:
    return kinds.OrdinalHyperparameter(name, list(sequence))


def one_of_each() -> Any:
    """A float, an integer, a category, a rank, a float that is active with the category `sgd`, and a constant."""
    optimizer, momentum = category('optimizer', ['sgd', 'adam']), uniform('momentum', 0.0, 0.99)
    others = [uniform('lr', 1e-5, 1e-1, log=True), integer('width', 16, 512, log=True), ordinal('size', 'sml')]
    everything = [optimizer, momentum, *others, kinds.Constant('kind', 'mlp')]
    return build(everything, [EqualsCondition(momentum, optimizer, 'sgd')])


def deep_learning(forbid: bool = True) -> Any:
    """A space as people write them: two levels of conditions, forbidden clauses."""
    lr, width = uniform('lr', 1e-5, 1.0, log=True), integer('width', 16, 512, log=True)
    optimizer = category('opt', ['sgd', 'adam', 'momentum'])
    momentum, nesterov = uniform('momentum', 0.0, 0.99), category('nesterov', [True, False])
    dampening, layers = uniform('dampening', 0.0, 1.0), integer('layers', 1, 5)
    dropout = ordinal('dropout', ['none', 'some', 'much'])
    units = [integer(f'units{k}', 8, 64) for k in range(2, 5)]
    conditions = [
        InCondition(momentum, optimizer, ['sgd', 'momentum']),
        GreaterThanCondition(nesterov, momentum, 0.5),
        AndConjunction(EqualsCondition(dampening, nesterov, False), LessThanCondition(dampening, layers, 4)),
        *[GreaterThanCondition(unit, layers, k) for k, unit in enumerate(units, 1)],
    ]
    forbidden = [
        ForbiddenAndConjunction(ForbiddenEqualsClause(optimizer, 'adam'), ForbiddenInClause(dropout, ['much', 'some'])),
        ForbiddenLessThanRelation(width, units[0]),
    ]
    everything = [lr, width, optimizer, momentum, nesterov, dampening, layers, dropout, *units]
    return build(everything, conditions, forbidden if forbid else [])
