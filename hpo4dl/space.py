"""A ConfigSpace as a unit cube.

A *configuration* is a dictionary of the active hyperparameters' values. Its *point* is

    u    (d,)    one coordinate in [0, 1] for each hyperparameter, in the space's order, NaN where it is inactive

The coordinate of a number is its cumulative probability under the hyperparameter's own distribution (uniform, normal
or beta, on a log scale where it says so), so that a uniform u is a draw from it. A hyperparameter with few values has
a coordinate for each: the centre of its cell.

Points are *canonical*: `to_cube(decode(u))` is u to the last bit. Coordinates are therefore rounded to a grid that is
coarse (12 decimals) against the rounding errors of logarithms and quantiles, which differ between machines.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Container, Mapping, Sequence
from graphlib import TopologicalSorter
from numbers import Real
from typing import Any, Union

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace import hyperparameters as kinds
from numpy.typing import NDArray
from scipy import special

from .errors import ArgumentError

Array = NDArray[np.float64]
FEW = 10_000
"""Hyperparameters of at most that many values are tabulated, spaces of at most that many points enumerated."""
CUT = 10.0
"""A normal distribution without bounds is cut that many standard deviations from its mean."""
TRIES = 10_000
"""Random points that `Space.draw` looks at before it searches from the default configuration on."""


class Choices:
    """A hyperparameter that takes one of few values: a category, a rank, a constant, an integer of a small range.

    Args:
        values: (m,) the values.
        probability: (m,) of each.
        kind: 'category', 'rank' (ordered, neighbours are the next ranks) or 'number'.
    """

    def __init__(self, values: Sequence[Any], probability: Array, kind: str) -> None:
        self.values = [value.item() if isinstance(value, np.generic) else value for value in values]
        self.kind = kind
        self.probability = probability / probability.sum()
        self.cumulative = np.cumsum(self.probability)
        self.possible = np.flatnonzero(self.probability)
        m = len(self.values)
        # A number's cell is as wide as its probability; a millionth is shared out, so that no cell vanishes.
        width = 0.999999 * self.probability + 0.000001 / m if kind == 'number' else np.full(m, 1 / m)
        self.centres = np.round(np.cumsum(width) - width / 2, 12)
        self.edges = (self.centres[1:] + self.centres[:-1]) / 2

    def index(self, u: Array) -> NDArray[np.intp]:
        return np.searchsorted(self.edges, u)

    def sample(self, u: Array) -> Array:
        """Coordinates of draws, from uniform u."""
        drawn = np.searchsorted(self.cumulative, u * self.cumulative[-1], side='right')
        return self.centres[np.minimum(drawn, self.possible[-1])]

    def decode(self, u: float) -> Any:
        return self.values[int(self.index(np.array(u)))]

    def locate(self, value: Any) -> float | None:
        """The coordinate of a value, None if it is not one of ours."""
        if self.kind == 'number':
            if not _is_number(value) or not self.values[0] <= value <= self.values[-1]:
                return None
            if isinstance(self.values[0], int) and value != int(value):
                return None
            return float(self.centres[np.argmin(np.abs(np.array(self.values) - value))])
        index = _find(self.values, value)
        return None if index is None else float(self.centres[index])

    def threshold(self, value: Any) -> float | None:
        """The coordinate that a condition compares with; between two values' where it lies between them."""
        if self.kind == 'number':
            return float(np.interp(value, self.values, self.centres))
        return self.locate(value)

    def move(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        """Another value for each u: a near number, a neighbouring rank, any other category."""
        index, last = self.index(u), len(self.values) - 1
        if self.kind == 'category':
            place = np.searchsorted(self.possible, index)
            itself = self.possible[np.minimum(place, len(self.possible) - 1)] == index
            other = (rng.random(len(u)) * (len(self.possible) - itself)).astype(np.intp)
            moved = self.possible[other + (itself & (other >= place))]
        else:
            moved = index if self.kind == 'rank' else self.index(_reflect(u + scale * rng.standard_normal(len(u))))
            step = np.where(rng.random(len(u)) < 0.5, 1, -1)
            step = np.where(index + step < 0, 1, np.where(index + step > last, -1, step))
            moved = np.where(moved == index, index + step, moved)
        return self.centres[moved]

    @property
    def can_move(self) -> bool:
        return len(self.possible) > 1

    def encode(self, u: Array) -> Array:
        """(n, columns): one-hot / sqrt(2) for categories, so that any two are 1 apart; else the coordinate."""
        if len(self.values) == 1:
            return np.empty((len(u), 0))
        if self.kind != 'category':
            return np.nan_to_num(u, nan=0.5)[:, None]
        one_hot = self.index(u)[:, None] == np.arange(len(self.values))
        return np.where(np.isnan(u)[:, None], 0.0, one_hot / math.sqrt(2))

    def accepted(self) -> str:
        if self.kind == 'number':
            return f'a number from {self.values[0]} to {self.values[-1]}'
        return f'one of {self.values}'


class Number:
    """A hyperparameter with a continuum of values, or too many to tabulate.

    Args:
        lower, upper: the bounds, both accepted.
        cumulative, quantile: the distribution function and its inverse, of values.
        origin, step: the values are origin + k step, k an integer; step 0 for any.
        whole: whether the values are integers.
    """

    kind = 'number'
    can_move = True

    def __init__(
        self,
        lower: float,
        upper: float,
        cumulative: Callable[[Array], Array],
        quantile: Callable[[Array], Array],
        origin: float = 0.0,
        step: float = 0.0,
        whole: bool = False,
    ) -> None:
        self.lower, self.upper, self.origin, self.step, self.whole = lower, upper, origin, step, whole
        self.cumulative, self.quantile = cumulative, quantile
        u = np.linspace(0, 1, 1001)
        error = float(np.max(np.abs(cumulative(quantile(u)) - u)))
        # Two decimals less than survive the way to the value and back: a range far from 0 keeps fewer.
        self.grid = 10.0 ** int(np.clip(-math.log10(max(error, 1e-16)) - 2, 2, 12))

    def coordinate(self, value: Array) -> Array:
        """Of values: cumulative probability on the grid."""
        u = np.rint(np.clip(self.cumulative(np.asarray(value, dtype=np.float64)), 0, 1) * self.grid) / self.grid
        return u + 0.0  # no negative zero: points are compared by their bytes

    def value(self, u: Array) -> Array:
        value = self.quantile(u)
        if self.step:
            value = self.origin + np.rint((value - self.origin) / self.step) * self.step
        return np.clip(value, self.lower, self.upper)

    def sample(self, u: Array) -> Array:
        u = np.rint(u * self.grid) / self.grid
        # In the tails a step may be narrower than the grid, and a point settle on its neighbour only at second sight.
        for _ in range(3 if self.step else 0):
            u = self.coordinate(self.value(u))
        return u

    def decode(self, u: float) -> Any:
        """The value, in few decimal digits if they mean the same point: 0.001 comes back as 0.001."""
        value = float(self.value(np.array(u)))
        if self.whole:
            return int(value)
        if self.step:
            return value
        for digits in (10, 13):
            short = float(f'{value:.{digits}g}')
            if self.lower <= short <= self.upper and abs(self.cumulative(np.array(short)) - u) < 0.4 / self.grid:
                return short
        return value

    def locate(self, value: Any) -> float | None:
        if not _is_number(value) or not self.lower <= value <= self.upper or (self.whole and value != int(value)):
            return None
        u = self.coordinate(np.array([value]))
        return float((self.sample(u) if self.step else u)[0])

    def threshold(self, value: Any) -> float | None:
        return float(self.coordinate(np.array([value]))[0])

    def move(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        moved = self.sample(_reflect(u + scale * rng.standard_normal(len(u))))
        if self.step:
            step = np.where(rng.random(len(u)) < 0.5, self.step, -self.step)
            value = self.value(u)
            step = np.where((value + step > self.upper) | (value + step < self.lower), -step, step)
            moved = np.where(moved == u, self.sample(self.coordinate(value + step)), moved)
        return moved

    def encode(self, u: Array) -> Array:
        return np.nan_to_num(u, nan=0.5)[:, None]

    def accepted(self) -> str:
        return f'{"an integer" if self.whole else "a number"} from {self.lower} to {self.upper}'


Column = Union[Choices, Number]
Activity = Callable[[Array], NDArray[np.bool_]]


class Space:
    """A ConfigSpace as a unit cube. The ConfigSpace is never changed, its random state included.

    Args:
        configuration_space: what to search.
        candidates: restricts the space to these configurations.

    Raises:
        ArgumentError: no space, an empty one, or a candidate that the space does not allow.

    Attributes:
        names: the hyperparameters, in the space's order.
        finite: (m, d) all points, where candidates were given or there are few; else None.
        n_features: columns that `encode` returns.
    """

    def __init__(
        self,
        configuration_space: ConfigurationSpace,
        candidates: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        if not isinstance(configuration_space, ConfigurationSpace) or len(configuration_space) == 0:
            raise ArgumentError(
                'configuration_space', configuration_space, 'a ConfigSpace.ConfigurationSpace with hyperparameters'
            )
        self.names = tuple(configuration_space)
        self.default = dict(configuration_space.get_default_configuration())
        self.columns = [_column(configuration_space[name]) for name in self.names]
        self.forbidden = list(configuration_space.forbidden_clauses)
        self.conditions = self._compile(configuration_space)
        self._given: dict[bytes, dict[str, Any]] = {}
        self.finite: Array | None
        self._weights: Array | None
        if candidates is not None:
            self.finite, self._weights = self._admit(candidates), None
        else:
            self.finite, self._weights = self._enumerate()
        self.n_features = self.encode(np.full((1, len(self.names)), np.nan)).shape[1]

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """(n, d) points from the space's own distribution; forbidden ones may be among them. Of a finite space: at
        most n different ones, all legal."""
        if self.finite is not None:
            m = len(self.finite)
            return self.finite[rng.choice(m, min(n, m), replace=False, p=self._weights)] if m else self.finite
        return self._deactivate(self._fill(rng, n))

    def draw(self, rng: np.random.Generator, tried: Container[bytes]) -> Array | None:
        """(d,) a random legal point whose bytes are not in `tried`; None if all are, or if none can be found."""
        if self.finite is not None:
            left = [i for i, point in enumerate(self.finite) if point.tobytes() not in tried]
            if not left:
                return None
            weights = None if self._weights is None else self._weights[left] / self._weights[left].sum()
            return self.finite[rng.choice(left, p=weights)]
        for _ in range(TRIES // 100):
            for point in self.sample(rng, 100):
                if point.tobytes() not in tried and self.is_legal(point):
                    return point
        # The clauses forbid nearly everything, but never the default: walk from there through what is legal.
        walk = self.to_cube(self.default)[None]
        for _ in range(TRIES // 100):
            near = self.neighbours(rng, walk, 100, scale=float(rng.choice([0.01, 0.1, 0.5])))
            legal = [point for point in near if self.is_legal(point)]
            fresh = [point for point in legal if point.tobytes() not in tried]
            if fresh:
                return fresh[0]
            walk = np.array([*walk, *legal])[-100:]
        return None

    def neighbours(self, rng: np.random.Generator, points: Array, n: int, scale: float) -> Array:
        """(n, d) random perturbations of `points` (k, d): one or two coordinates of each are changed, numbers by a
        Gaussian of standard deviation `scale`, reflected at the bounds. Of a finite space: at most n of its points,
        those that are nearest to `points`."""
        if self.finite is not None:
            return self._nearest(points, n)
        points = points[rng.integers(len(points), size=n)]
        movable = ~np.isnan(points) & np.array([column.can_move for column in self.columns])
        order = np.argsort(np.where(movable, rng.random(points.shape), np.inf), axis=1)
        chosen = np.zeros(points.shape, dtype=bool)
        np.put_along_axis(chosen, order[:, :1], True, axis=1)
        np.put_along_axis(chosen, order[:, 1:2], rng.random((n, 1)) < 0.5, axis=1)
        filled = np.where(np.isnan(points), self._fill(rng, n), points)
        for j, column in enumerate(self.columns):
            rows = np.flatnonzero(chosen[:, j] & movable[:, j])
            filled[rows, j] = column.move(rng, filled[rows, j], scale)
        return self._deactivate(filled)

    def encode(self, points: Array) -> Array:
        """(n, n_features) in [0, 1], for the surrogate: numbers and ranks by their coordinate (0.5 where inactive),
        categories one-hot / sqrt(2) (0 where inactive), and a column that says whether a conditional one is active."""
        blocks = []
        for j, (name, column) in enumerate(zip(self.names, self.columns)):
            block = column.encode(points[:, j])
            blocks.append(block)
            if name in self.conditions and block.shape[1]:
                blocks.append(~np.isnan(points[:, j : j + 1]))
        return np.concatenate(blocks, axis=1, dtype=np.float64)

    def decode(self, point: Array) -> dict[str, Any]:
        """The configuration at a point: native Python values of the active hyperparameters, in the space's order."""
        given = self._given.get(point.tobytes())
        if given is not None:
            return dict(given)
        return {
            name: column.decode(float(u))
            for name, column, u in zip(self.names, self.columns, point)
            if not np.isnan(u)
        }

    def to_cube(self, configuration: Mapping[str, object], argument: str = 'configuration') -> Array:
        """(d,) the point of a configuration.

        Raises:
            ArgumentError: about `argument`, if the space does not allow it.
        """
        if not isinstance(configuration, Mapping):
            raise ArgumentError(argument, configuration, 'a mapping from hyperparameters to values')
        values = {name: configuration[name] for name in configuration.keys()}
        for name in values:
            if name not in self.names:
                raise ArgumentError(argument, values, f'no {name!r}, only {list(self.names)}')
        point = np.full(len(self.names), np.nan)
        for j, (name, column) in enumerate(zip(self.names, self.columns)):
            if name in values:
                u = column.locate(values[name])
                if u is None:
                    raise ArgumentError(argument, values, f'{name!r} {column.accepted()}')
                point[j] = u
        filled = np.where(np.isnan(point), 0.5, point)[None]
        active = ~np.isnan(self._deactivate(filled)[0])
        for j, name in enumerate(self.names):
            if active[j] and name not in values:
                raise ArgumentError(argument, values, f'a value for {name!r}, which is active')
            if name in values and not active[j]:
                raise ArgumentError(argument, values, f'no value for {name!r}, whose conditions are not met')
        for clause in self.forbidden:
            if _forbids(clause, self.decode(point)):
                raise ArgumentError(argument, values, f'what the space does not forbid ({clause})')
        return point

    def is_legal(self, point: Array) -> bool:
        """Whether no forbidden clause holds, in ConfigSpace's own judgement."""
        configuration = self.decode(point) if self.forbidden else {}
        return not any(_forbids(clause, configuration) for clause in self.forbidden)

    def plain(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as JSON can hold it: categories that are arbitrary objects by their repr."""
        return {name: _plain(value) for name, value in configuration.items()}

    def restore(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration whose plain form this is.

        Raises:
            ArgumentError: a category's plain form is not known.
        """
        configuration = dict(plain)
        for name, column in zip(self.names, self.columns):
            if name in plain and isinstance(column, Choices) and column.kind != 'number':
                index = _find([_plain(value) for value in column.values], plain[name])
                if index is None:
                    raise ArgumentError('configuration', dict(plain), f'{name!r} {column.accepted()}')
                configuration[name] = column.values[index]
        return configuration

    def _fill(self, rng: np.random.Generator, n: int) -> Array:
        """(n, d) draws as if every hyperparameter were active."""
        u = rng.random((n, len(self.names)))
        return np.stack([column.sample(u[:, j]) for j, column in enumerate(self.columns)], axis=1)

    def _deactivate(self, points: Array) -> Array:
        """The points with NaN where conditions are not met; changes them in place. Parents come before children."""
        for name, met in self.conditions.items():
            points[~met(points), self.names.index(name)] = np.nan
        return points

    def _compile(self, space: ConfigurationSpace) -> dict[str, Activity]:
        """What decides whether each conditional hyperparameter is active, parents first."""
        conditions: dict[str, list[Any]] = {}
        for condition in _conditions(space):
            conditions.setdefault(_literals(condition)[0].child.name, []).append(condition)
        parents = {
            child: {literal.parent.name for condition in conjunction for literal in _literals(condition)}
            for child, conjunction in conditions.items()
        }
        return {
            child: self._all([self._activity(condition) for condition in conditions[child]])
            for child in TopologicalSorter(parents).static_order()
            if child in conditions
        }

    def _activity(self, condition: Any) -> Activity:
        """A condition as a function from points (n, d) to (n,) whether it is met; on an inactive parent it is not."""
        if hasattr(condition, 'components'):
            parts = [self._activity(component) for component in condition.components]
            return self._all(parts) if 'And' in type(condition).__name__ else self._any(parts)
        j = self.names.index(condition.parent.name)
        kind = type(condition).__name__
        given = condition.values if kind == 'InCondition' else [condition.value]
        u = np.array([self.columns[j].threshold(value) for value in given], dtype=np.float64)
        if kind == 'LessThanCondition':
            return lambda points: points[:, j] < u[0]
        if kind == 'GreaterThanCondition':
            return lambda points: points[:, j] > u[0]
        if kind == 'NotEqualsCondition':
            # ConfigSpace >= 1 takes an inactive parent for one that differs, < 1 for one that does not.
            differs = not _is_old(condition.parent)
            return lambda points: (points[:, j] != u[0]) & (differs | ~np.isnan(points[:, j]))
        return lambda points: np.isin(points[:, j], u)

    @staticmethod
    def _all(parts: Sequence[Activity]) -> Activity:
        return lambda points: np.logical_and.reduce([part(points) for part in parts])

    @staticmethod
    def _any(parts: Sequence[Activity]) -> Activity:
        return lambda points: np.logical_or.reduce([part(points) for part in parts])

    def _admit(self, candidates: Sequence[Mapping[str, object]]) -> Array:
        """(m, d) the candidates' points, repetitions dropped. Their values come back from `decode` as they are."""
        if isinstance(candidates, (str, Mapping)) or not hasattr(candidates, '__iter__'):
            raise ArgumentError('candidates', candidates, 'a list of configurations')
        for candidate in candidates:
            point = self.to_cube(candidate, 'candidates')
            values = {name: candidate[name] for name in self.names if name in set(candidate.keys())}
            native = {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}
            self._given.setdefault(point.tobytes(), {**self.decode(point), **native})
        if not self._given:
            raise ArgumentError('candidates', candidates, 'at least one configuration')
        return np.array([np.frombuffer(point) for point in self._given])

    def _enumerate(self) -> tuple[Array | None, Array | None]:
        """(m, d) all legal points and (m,) their probabilities, if they are few."""
        columns = [column for column in self.columns if isinstance(column, Choices)]
        size = math.prod(len(column.possible) for column in columns)
        if len(columns) < len(self.columns) or size > FEW:
            return None, None
        grid = np.indices([len(column.possible) for column in columns]).reshape(len(columns), -1)
        index = [column.possible[row] for column, row in zip(columns, grid)]
        weights = np.prod([column.probability[i] for column, i in zip(columns, index)], axis=0)
        points = self._deactivate(np.stack([column.centres[i] for column, i in zip(columns, index)], axis=1))
        points, which = np.unique(np.nan_to_num(points, nan=-1.0), axis=0, return_inverse=True)
        weights = np.bincount(which.ravel(), weights)
        points[points < 0] = np.nan
        legal = np.array([self.is_legal(point) for point in points])
        return points[legal], weights[legal] / weights[legal].sum() if legal.any() else weights[legal]

    def _nearest(self, points: Array, n: int) -> Array:
        assert self.finite is not None
        features = self.encode(self.finite)
        distances = [np.sum((features - feature) ** 2, axis=1) for feature in self.encode(points)]
        order = np.argsort(np.min(distances, axis=0), kind='stable')
        own = {point.tobytes() for point in points}
        return self.finite[[i for i in order if self.finite[i].tobytes() not in own][:n]]


def read_space(text: str) -> ConfigurationSpace:
    """The space that ConfigSpace's own JSON describes."""
    if hasattr(ConfigurationSpace, 'from_json'):
        return ConfigurationSpace.from_json(io.StringIO(text))
    from ConfigSpace.read_and_write import json as old

    return old.read(text)


def write_space(space: ConfigurationSpace) -> str:
    """ConfigSpace's own JSON.

    Raises:
        ArgumentError: ConfigSpace cannot write the space: categories that are arbitrary objects.
    """
    for name in space:
        for choice in getattr(space[name], 'choices', ()):
            if _plain(choice) is not choice and not isinstance(choice, np.generic):
                raise ArgumentError('configuration_space', space, f'plain categories, not {choice!r} of {name!r}')
    if hasattr(space, 'to_serialized_dict'):
        return json.dumps(space.to_serialized_dict(), default=np.generic.item)
    from ConfigSpace.read_and_write import json as old

    return str(old.write(space))


def describe(space: ConfigurationSpace) -> list[dict[str, Any]]:
    """The space in plain words for JSON: an entry a hyperparameter, then one a condition and a forbidden clause."""
    known = ('choices', 'weights', 'sequence', 'value', 'lower', 'upper', 'log', 'q', 'mu', 'sigma', 'alpha', 'beta')
    entries: list[dict[str, Any]] = []
    for name in space:
        hyperparameter = space[name]
        entry = {'name': name, 'type': type(hyperparameter).__name__.replace('Hyperparameter', '')}
        for key in ('default_value', *known):
            value = getattr(hyperparameter, key, None)
            if value is not None:
                listed = key in ('choices', 'weights', 'sequence')
                entry[key] = [_plain(item) for item in value] if listed else _plain(value)
        entries.append(entry)
    entries += [{'type': 'condition', 'text': str(condition)} for condition in _conditions(space)]
    return entries + [{'type': 'forbidden', 'text': str(clause)} for clause in space.forbidden_clauses]


def _column(hyperparameter: Any) -> Column:
    """What a ConfigSpace hyperparameter is to us."""
    if isinstance(hyperparameter, kinds.Constant):
        return Choices([hyperparameter.value], np.ones(1), 'category')
    if isinstance(hyperparameter, kinds.CategoricalHyperparameter):
        return Choices(hyperparameter.choices, np.array(hyperparameter.probabilities, dtype=float), 'category')
    if isinstance(hyperparameter, kinds.OrdinalHyperparameter):
        return Choices(hyperparameter.sequence, np.ones(len(hyperparameter.sequence)), 'rank')
    return _numerical(hyperparameter)


def _numerical(hyperparameter: Any) -> Column:
    log = bool(hyperparameter.log)
    normal = hasattr(hyperparameter, 'mu')
    whole = isinstance(hyperparameter.default_value, (int, np.integer)) and 'Integer' in type(hyperparameter).__name__
    lower, upper = hyperparameter.lower, hyperparameter.upper
    if lower is None:
        mean, deviation = _normal(hyperparameter)
        lower, upper = mean - CUT * deviation, mean + CUT * deviation
        if log:
            lower, upper = math.exp(max(lower, -700.0)), math.exp(min(upper, 700.0))
        if whole:
            lower, upper = max(math.ceil(lower), 1 if log else -(2**53)), min(math.floor(upper), 2**53)
    step = getattr(hyperparameter, 'q', None) or (1 if whole else 0)
    origin = 0 if normal and step else lower  # where ConfigSpace's quantised values start
    if step:
        first, last = math.ceil((lower - origin) / step - 1e-9), math.floor((upper - origin) / step + 1e-9)
        lower, upper = origin + first * step, origin + last * step
    low, high = lower - step / 2, upper + step / 2
    if log:
        low, high = math.log(max(low, lower / 2) if step else low), math.log(high)
    cumulative, quantile = _distribution(hyperparameter, low, high)

    def to_scale(value: Array) -> Array:
        return np.log(np.maximum(value, 1e-320)) if log else value

    if step and last - first < FEW:
        values = [origin + k * step for k in range(first, last + 1)]
        between = to_scale(np.array([value + step / 2 for value in values[:-1]]))
        edges = np.concatenate([[0.0], cumulative(between), [1.0]])
        return Choices(values, np.maximum(np.diff(edges), 0.0), 'number')
    return Number(
        lower,
        upper,
        lambda value: cumulative(to_scale(value)),
        lambda u: np.exp(quantile(u)) if log else quantile(u),
        origin,
        step,
        whole,
    )


def _distribution(
    hyperparameter: Any, low: float, high: float
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """The distribution function on [low, high], on the hyperparameter's scale, and its inverse."""
    width = high - low
    if hasattr(hyperparameter, 'alpha'):
        alpha, beta = hyperparameter.alpha, hyperparameter.beta
        return (
            lambda x: special.betainc(alpha, beta, np.clip((x - low) / width, 0, 1)),
            lambda u: low + width * special.betaincinv(alpha, beta, u),
        )
    if hasattr(hyperparameter, 'mu'):
        mean, deviation = _normal(hyperparameter)
        # In the upper tail probabilities near 1 lose their digits; its mirror image does not.
        sign = -1.0 if low + high > 2 * mean else 1.0
        left, right = sorted((sign * (low - mean) / deviation, sign * (high - mean) / deviation))
        below = special.ndtr(left)
        mass = special.ndtr(right) - below
        if mass > 1e-300:

            def cumulative(x: Array) -> Array:
                p = (special.ndtr(sign * (x - mean) / deviation) - below) / mass
                return p if sign > 0 else 1 - p

            def quantile(u: Array) -> Array:
                z = special.ndtri(below + mass * (u if sign > 0 else 1 - u))
                return mean + sign * deviation * np.clip(z, left, right)

            return cumulative, quantile
    return lambda x: (x - low) / width, lambda u: low + width * u


def _normal(hyperparameter: Any) -> tuple[float, float]:
    """Mean and standard deviation on the hyperparameter's scale."""
    mu, sigma = float(hyperparameter.mu), float(hyperparameter.sigma)
    if hyperparameter.log and not _is_old(hyperparameter):
        # ConfigSpace >= 1 gives both on the linear scale, and converts sigma like this.
        return math.log(mu), max(abs(math.log(hyperparameter.lower + sigma)), 1e-9)
    return mu, sigma


def _is_old(hyperparameter: Any) -> bool:
    """Whether it is of ConfigSpace < 1 (whose version numbers cannot be trusted)."""
    return not hasattr(hyperparameter, 'legal_value')


def _conditions(space: ConfigurationSpace) -> list[Any]:
    return list(space.conditions if hasattr(space, 'conditions') else space.get_conditions())


def _literals(condition: Any) -> list[Any]:
    """The conditions on one parent that it is made of."""
    if not hasattr(condition, 'components'):
        return [condition]
    return [literal for component in condition.components for literal in _literals(component)]


def _forbids(clause: Any, configuration: dict[str, Any]) -> bool:
    if hasattr(clause, 'is_forbidden_value'):
        return bool(clause.is_forbidden_value(configuration))
    return bool(clause.is_forbidden(configuration, strict=False))


def _find(values: Sequence[Any], value: Any) -> int | None:
    """Where `value` is among `values`: the object itself, else the first one equal to it."""
    for i, known in enumerate(values):
        if known is value:
            return i
    for i, known in enumerate(values):
        try:
            if bool(known == value):
                return i
        except (TypeError, ValueError):  # arrays and the like: equal only to themselves
            continue
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if value is None or isinstance(value, (str, int, float)) else repr(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.bool_)) and math.isfinite(value)


def _reflect(u: Array) -> Array:
    """Back into [0, 1], as if its ends were mirrors."""
    u = np.mod(u, 2)
    return np.where(u > 1, 2 - u, u)
