"""A ConfigSpace as a unit cube.

A *configuration* is a dictionary of the active hyperparameters' values. Its *point* is

    u    (d,)    one coordinate in [0, 1] a hyperparameter, in the space's order; NaN where it is inactive

The coordinate of each hyperparameter is explained in `transforms.py`. Points are *canonical*:
`to_unit(from_unit(u))` is u to the last bit, for every point that a space gives out, so that a run that is resumed sees
the same points again.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray
from scipy.stats import qmc

from ..errors import ArgumentError
from ..trial import Array
from .conditions import compile_conditions
from .serialization import plain_value
from .transforms import Choices, Number, find, hyperparameter_coordinate

FEW = 10_000
"""Spaces of at most that many points are enumerated."""
TRIES = 3_000
"""Random points that `Space.draw` looks at before it walks from the default configuration, and again then."""


class Space:
    """A ConfigSpace as a unit cube. The ConfigSpace itself is never changed, not even its random state.

    Args:
        configuration_space: what to search.
        candidates: restricts the space to these configurations.

    Raises:
        ArgumentError: no space, an empty one, or a candidate that the space does not allow.
    """

    names: tuple[str, ...]
    """The hyperparameters, in the space's order."""
    all_points: Array | None
    """(m, d) all legal points, where candidates were given or there are few; else None."""
    n_features: int
    """Columns that `features` returns."""

    def __init__(
        self,
        configuration_space: ConfigurationSpace,
        candidates: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        if not isinstance(configuration_space, ConfigurationSpace) or len(configuration_space) == 0:
            accepted = 'a ConfigSpace.ConfigurationSpace with at least one hyperparameter'
            raise ArgumentError('configuration_space', configuration_space, accepted)
        self.names = tuple(configuration_space)
        self._columns = [hyperparameter_coordinate(configuration_space[name]) for name in self.names]
        self._conditions = compile_conditions(configuration_space, self.names, self._columns)
        self._forbidden = list(configuration_space.forbidden_clauses)
        self._default = dict(configuration_space.get_default_configuration())
        self._given: dict[bytes, dict[str, Any]] = {}
        self._weights: Array | None = None
        if candidates is None:
            self.all_points, self._weights = self._enumerate()
        else:
            self._restrict(candidates)
        self.n_features = self.features(np.full((1, len(self.names)), np.nan)).shape[1]

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """(n, d) points from the space's own distribution; forbidden ones may be among them. Of a finite space: at
        most n different ones, all legal."""
        if self.all_points is None:
            return self._deactivate(self._fill(rng, n))
        size = min(n, len(self.all_points))
        if size == 0:
            return self.all_points
        return self.all_points[rng.choice(len(self.all_points), size, replace=False, p=self._weights)]

    def draw(self, rng: np.random.Generator, tried: Container[bytes]) -> Array | None:
        """(d,) a random legal point whose bytes are not in `tried`; None if all are, or if none can be found."""
        if self.all_points is not None:
            left = [i for i, point in enumerate(self.all_points) if point.tobytes() not in tried]
            weights = None if self._weights is None else self._weights[left] / self._weights[left].sum()
            return self._point(int(rng.choice(left, p=weights))) if left else None
        for _ in range(TRIES // 100):
            for point in self.sample(rng, 100):
                if point.tobytes() not in tried and self.is_legal(point):
                    return np.array(point)
        # The clauses forbid nearly everything, but never the default: walk from there through what is legal.
        near = walk = self.to_unit(self._default)[None]
        for _ in range(TRIES // 100):
            legal = [point for point in near if self.is_legal(point)]
            for point in legal:
                if point.tobytes() not in tried:
                    return np.array(point)
            walk = np.array([*walk, *legal])[-100:]
            near = self.neighbours(rng, walk, 100, scale=rng.choice([0.003, 0.03, 0.3]))
        return None

    def sobol_point(self, seed: int, index: int, tried: Container[bytes]) -> Array | None:
        """(d,) place `index` of a sequence that fills the space evenly, distributed as draws are.

        It is SciPy's Sobol sequence, scrambled by the seed, other in old versions of SciPy. Of a finite space: the
        nearest point not in `tried`. None where that place was tried, or is forbidden.
        """
        sequence = qmc.Sobol(len(self.names), seed=np.random.default_rng(seed))
        point = self._deactivate(self._at(sequence.random_base2(index.bit_length())[[index]]))
        if self.all_points is not None:
            return next((p for p in map(self._point, self._by_distance(point)) if p.tobytes() not in tried), None)
        return np.array(point[0]) if point.tobytes() not in tried and self.is_legal(point[0]) else None

    def neighbours(self, rng: np.random.Generator, points: Array, n: int, scale: float) -> Array:
        """(n, d) random perturbations of `points` (k, d), forbidden ones perhaps among them.

        One or two coordinates of each are changed: numbers by a Gaussian of standard deviation `scale`, ranks by one,
        categories to any other. Of a finite space: at most n points, those nearest to `points`, whatever the scale.
        """
        if self.all_points is not None:
            return self._nearest(points, n)
        points = points[rng.integers(len(points), size=n)]
        movable = ~np.isnan(points) & np.array([column.can_move for column in self._columns])
        rank = np.argsort(np.argsort(np.where(movable, rng.random(points.shape), np.inf), axis=1), axis=1)
        changed = movable & (rank < rng.integers(1, 3, size=(n, 1)))
        moved = np.where(np.isnan(points), self._fill(rng, n), points)
        for j, column in enumerate(self._columns):
            rows = changed[:, j]
            moved[rows, j] = column.move(rng, moved[rows, j], scale)
        return self._deactivate(moved)

    def features(self, points: Array) -> Array:
        """(n, n_features) in [0, 1], for the surrogate.

        A number or rank is its coordinate (0.5 where inactive); a category is one-hot / sqrt(2), so that any two are
        1 apart (0 where inactive); a conditional one has one more column, whether it is active (0 or 1). What has
        only one value has no column.
        """
        blocks = []
        for j, (name, column) in enumerate(zip(self.names, self._columns)):
            u = points[:, j]
            if column.n_features:
                blocks.append(column.encode(u))
            if column.n_features and name in self._conditions:
                blocks.append(~np.isnan(u)[:, None])
        return np.concatenate([np.empty((len(points), 0)), *blocks], axis=1)

    def from_unit(self, point: Array) -> dict[str, Any]:
        """The configuration at a point: native Python values of the active hyperparameters, in the space's order."""
        configuration = {
            name: column.decode(u) for name, column, u in zip(self.names, self._columns, point.tolist()) if u == u
        }
        return {**configuration, **self._given.get(point.tobytes(), {})}

    def to_unit(self, configuration: Mapping[str, object], argument: str = 'configuration') -> Array:
        """(d,) the point of a configuration; the inverse of `from_unit`.

        Raises:
            ArgumentError: about `argument`, if the space does not allow the configuration.
        """
        if not isinstance(configuration, Mapping):
            raise ArgumentError(argument, configuration, 'a mapping from the names of hyperparameters to values')
        values = {name: configuration[name] for name in configuration.keys()}
        unknown = [name for name in values if name not in self.names]
        if unknown:
            raise ArgumentError(argument, values, f'no {unknown[0]!r}; the hyperparameters are {list(self.names)}')
        point = np.full(len(self.names), np.nan)
        for j, (name, column) in enumerate(zip(self.names, self._columns)):
            if name in values:
                u = column.locate(values[name])
                if u is None:
                    raise ArgumentError(argument, values, f'for {name!r} {column.accepted}')
                point[j] = u
        active = ~np.isnan(self._deactivate(np.nan_to_num(point, nan=0.5)[None])[0])
        for name, is_active in zip(self.names, active):
            if is_active and name not in values:
                raise ArgumentError(argument, values, f'a configuration with {name!r}, which is active')
            if name in values and not is_active:
                raise ArgumentError(argument, values, f'a configuration without {name!r}, whose condition is not met')
        clause = self._violated(point)
        if clause is not None:
            raise ArgumentError(argument, values, f'a configuration that the space does not forbid ({clause})')
        return point

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of a legal value for every hyperparameter, those that are active: a configuration, perhaps forbidden."""
        point = np.array([[column.locate(values[name]) for name, column in zip(self.names, self._columns)]])
        return {name: values[name] for name, u in zip(self.names, self._deactivate(point)[0]) if u == u}

    def check_point(self, point: Array) -> Array:
        """`point`; raises ArgumentError unless it is (d,), each coordinate in [0, 1], or NaN."""
        if point.shape != (len(self.names),) or not ((point >= 0) & (point <= 1) | np.isnan(point)).all():
            raise ArgumentError('point', point, f'{len(self.names)} coordinates in [0, 1], NaN where inactive')
        return point

    def is_legal(self, point: Array) -> bool:
        """Whether no forbidden clause holds, in ConfigSpace's own judgement."""
        return self._violated(point) is None

    def plain(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as JSON can hold it: categories that are arbitrary objects by their repr."""
        return {name: plain_value(value) for name, value in configuration.items()}

    @classmethod
    def restored(cls, configuration_space: ConfigurationSpace, candidates: Sequence[Mapping[str, Any]] | None) -> Space:
        """The space, restricted to candidates that `plain` made; errors as above."""
        space = cls(configuration_space)
        if candidates is not None:
            space._restrict([space.restore(candidate) for candidate in candidates])
        return space

    def restore(self, plain: Mapping[str, Any], point: Array | None = None) -> dict[str, Any]:
        """The configuration that `plain` made this of.

        Args:
            plain: as JSON holds it.
            point: (d,) its coordinates, where they are known: categories whose text is not theirs alone, such as
                functions, are told apart by them.

        Raises:
            ArgumentError: no category has this plain form.
        """
        configuration = dict(plain)
        for name, column in zip(self.names, self._columns):
            if name in configuration and isinstance(column, Choices) and column.kind != 'number':
                there = None if point is None else column.decode(float(self.check_point(point)[self.names.index(name)]))
                if there is not None and plain_value(there) is not there:  # told by its repr, which others may share
                    configuration[name] = there
                    continue
                index = find([plain_value(value) for value in column.values], configuration[name])
                if index is None:
                    raise ArgumentError('configuration', dict(plain), f'for {name!r} {column.accepted}')
                configuration[name] = column.values[index]
        return configuration

    def _point(self, index: int) -> Array:
        assert self.all_points is not None
        return np.array(self.all_points[index])

    def _fill(self, rng: np.random.Generator, n: int) -> Array:
        """(n, d) draws as if every hyperparameter were active."""
        return self._at(rng.random((n, len(self.names))))

    def _at(self, u: Array) -> Array:
        """(n, d) points, of uniform numbers (n, d), as if every hyperparameter were active."""
        return np.stack([column.sample(u[:, j]) for j, column in enumerate(self._columns)], axis=1)

    def _deactivate(self, points: Array) -> Array:
        """Sets NaN, in place, where conditions are not met, parents before their children."""
        for name, condition in self._conditions.items():
            points[~condition.is_met(points), self.names.index(name)] = np.nan
        return points

    def _violated(self, point: Array) -> Any:
        configuration = self.from_unit(point) if self._forbidden else {}
        return next((clause for clause in self._forbidden if clause.is_forbidden_value(configuration)), None)

    def _restrict(self, candidates: Sequence[Mapping[str, object]]) -> None:
        """Let no other point be drawn than the candidates', repetitions dropped."""
        if isinstance(candidates, (str, Mapping)) or not hasattr(candidates, '__len__') or len(candidates) == 0:
            raise ArgumentError('candidates', candidates, 'a list of at least one configuration')
        points = {}
        for candidate in candidates:
            point = self.to_unit(candidate, 'candidates')
            # Tables are looked up by exact values, which are finer than the grid of coordinates.
            exact = {
                name: float(candidate[name])  # type: ignore[arg-type]
                for name, column, u in zip(self.names, self._columns, point)
                if isinstance(column, Number) and not column.whole and not np.isnan(u)
            }
            points[point.tobytes()] = point
            self._given.setdefault(point.tobytes(), exact)
        self.all_points, self._weights = np.array(list(points.values())), None

    def _enumerate(self) -> tuple[Array | None, Array | None]:
        """(m, d) all legal points and (m,) their probabilities, if they are few."""
        columns = [column for column in self._columns if isinstance(column, Choices)]
        sizes = [len(column.possible) for column in columns]
        if len(columns) < len(self._columns) or math.prod(sizes) > FEW:
            return None, None
        index = [column.possible[i] for column, i in zip(columns, np.indices(sizes).reshape(len(sizes), -1))]
        weights = np.prod([column.probability[i] for column, i in zip(columns, index)], axis=0)
        grid = self._deactivate(np.stack([column.centres[i] for column, i in zip(columns, index)], axis=1))
        points, which = np.unique(np.nan_to_num(grid, nan=-1.0), axis=0, return_inverse=True)
        points[points < 0] = np.nan
        legal = np.array([self.is_legal(point) for point in points])
        weights = np.bincount(which.ravel(), weights)[legal]
        return points[legal], weights / weights.sum()

    def _nearest(self, points: Array, n: int) -> Array:
        assert self.all_points is not None
        own = {point.tobytes() for point in points}
        order = [i for i in self._by_distance(points) if self._point(i).tobytes() not in own]
        return self.all_points[order[:n]]

    def _by_distance(self, points: Array) -> NDArray[np.intp]:
        """(m,) indices of the points of a finite space, the nearest to any of `points` first."""
        assert self.all_points is not None
        features = self.features(self.all_points)
        distance = np.min([np.sum((features - own) ** 2, axis=1) for own in self.features(points)], axis=0)
        return np.argsort(distance, kind='stable')
