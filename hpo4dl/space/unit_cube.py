"""A ConfigSpace as a unit cube.

    configuration    the active hyperparameters' values by name, in the space's order
    point            (d,) its coordinates in [0, 1], one a hyperparameter; NaN where that is inactive
    features         (n, n_features) what the surrogate sees of n points

`transforms.py` explains the coordinates. Points are *canonical*: `to_unit(from_unit(point))` is the point to the last
bit, for every point that a space gives out, so that a run that is resumed sees the same points again.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from scipy.stats import qmc

from ..errors import ArgumentError
from ..trial import Array
from .conditions import compile_conditions, deactivate
from .declaration import as_space
from .finite import PointSet, enumerate_points
from .serialization import plain_choices, plain_value
from .transforms import Category, Number, Rank, UnitTransform, index_of, transform_of

MAX_TRIES = 3_000
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
    transforms: dict[str, UnitTransform]
    """What takes each hyperparameter's values to coordinates and back, in the same order."""
    columns: dict[str, int]
    """The first column of `features` of each hyperparameter."""
    n_features: int
    """Columns that `features` returns."""
    default: dict[str, Any]
    """The space's default configuration."""

    def __init__(
        self,
        configuration_space: ConfigurationSpace | dict[str, Any],
        candidates: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        configuration_space = as_space(configuration_space)
        if not isinstance(configuration_space, ConfigurationSpace) or len(configuration_space) == 0:
            accepted = 'a ConfigSpace.ConfigurationSpace with at least one hyperparameter'
            raise ArgumentError('configuration_space', configuration_space, accepted)
        self.names = tuple(configuration_space)
        self.transforms = {name: transform_of(configuration_space[name]) for name in self.names}
        self._conditions = compile_conditions(configuration_space, self.transforms)
        self._forbidden = list(configuration_space.forbidden_clauses)
        self.default = dict(configuration_space.get_default_configuration())
        self._choices = {name: t for name, t in self.transforms.items() if isinstance(t, (Category, Rank))}
        self._plain_choices = {name: plain_choices(choice.values) for name, choice in self._choices.items()}
        self._exact_values: dict[bytes, dict[str, Any]] = {}
        self._remembered: dict[bytes, list[Array]] = {}
        widths = [block.shape[1] for block in self._feature_blocks(np.full((1, len(self.names)), np.nan))]
        *first, self.n_features = accumulate(widths, initial=0)
        self.columns = dict(zip(self.names, first))
        self._finite = self._enumerated() if candidates is None else self._restricted_to(candidates)

    @property
    def all_points(self) -> Array | None:
        """(m, d) all legal points, where candidates were given or there are few; else None."""
        return None if self._finite is None else self._finite.points

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Return (n, d) points from the space's own distribution, forbidden ones perhaps among them.

        Of a finite space: at most n different ones, all legal.
        """
        return self._sample(rng.random((n, len(self.names)))) if self._finite is None else self._finite.sample(rng, n)

    def draw(self, rng: np.random.Generator, tried: Container[bytes]) -> Array | None:
        """Return (d,) a random legal point whose bytes are not in `tried`; None if all are, or none can be found."""
        if self._finite is not None:
            return self._finite.draw(rng, tried)
        for _ in range(MAX_TRIES // 100):
            for point in self.sample(rng, 100):
                if point.tobytes() not in tried and self.is_legal(point):
                    return np.array(point)
        return walk(self, self.to_unit(self.default), rng, tried)  # the clauses forbid nearly all, but not the default

    def sobol_point(self, seed: int, index: int, tried: Container[bytes]) -> Array | None:
        """Return (d,) a point of a scrambled Sobol sequence; None if it was tried, or is forbidden.

        It is distributed as draws are. Versions of SciPy differ. Of a finite space: the nearest point not in `tried`.
        """
        sequence = qmc.Sobol(len(self.names), seed=np.random.default_rng(seed))
        point = self._sample(sequence.random_base2(index.bit_length())[[index]])
        if self._finite is not None:
            return next(iter(self._finite.nearest(self.features(point), tried, 1)), None)
        return point[0] if point.tobytes() not in tried and self.is_legal(point[0]) else None

    def neighbors(self, rng: np.random.Generator, points: Array, n: int, scale: float) -> Array:
        """Return (n, d) random perturbations of `points` (k, d), forbidden ones perhaps among them.

        One or two coordinates of each are changed: numbers by a Gaussian of standard deviation `scale`, ranks by one,
        categories to any other. Of a finite space: at most n points, those nearest to `points`, whatever the scale.
        """
        if self._finite is not None:
            return self._finite.nearest(self.features(points), {point.tobytes() for point in points}, n)
        transforms = list(self.transforms.values())
        points = points[rng.integers(len(points), size=n)]
        movable = ~np.isnan(points) & np.array([transform.is_movable for transform in transforms])
        rank = np.argsort(np.argsort(np.where(movable, rng.random(points.shape), np.inf), axis=1), axis=1)
        changed = movable & (rank < rng.integers(1, 3, size=(n, 1)))
        moved = np.where(np.isnan(points), self._sample_all(rng.random(points.shape)), points)
        for j, transform in enumerate(transforms):
            rows = changed[:, j]
            moved[rows, j] = transform.perturb(rng, moved[rows, j], scale)
        return deactivate(moved, self._conditions)

    def features(self, points: Array) -> Array:
        """Return (n, n_features) numbers in [0, 1], for the surrogate.

        A number or rank is its coordinate (0.5 where inactive); a category is one-hot / sqrt(2) (0 where inactive); a
        conditional one has one more column, whether it is active (0 or 1). What has only one value has no column.
        """
        return np.concatenate(list(self._feature_blocks(points)), axis=1)

    def _feature_blocks(self, points: Array) -> Iterator[Array]:
        """Yield (n, w) the columns of each hyperparameter in turn."""
        for j, transform in enumerate(self.transforms.values()):
            u = points[:, j]
            block = transform.features(u) if transform.n_features else np.empty((len(u), 0))
            is_told = transform.n_features and j in self._conditions
            yield np.column_stack([block, ~np.isnan(u)]) if is_told else block

    def from_unit(self, point: Array) -> dict[str, Any]:
        """Return the configuration at a point, its values native Python objects."""
        coordinates = zip(self.transforms.items(), point.tolist())
        configuration = {name: transform.from_unit(u) for (name, transform), u in coordinates if not math.isnan(u)}
        return {**configuration, **self._exact_values.get(point.tobytes(), {})}

    def to_unit(self, configuration: Mapping[str, object], argument: str = 'configuration') -> Array:
        """Return (d,) the point of a configuration.

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
        for j, (name, transform) in enumerate(self.transforms.items()):
            if name in values:
                u = transform.to_unit(values[name])
                if u is None:
                    raise ArgumentError(argument, values, f'for {name!r} {transform.accepted}')
                point[j] = u
        for name, is_active in zip(self.names, self._is_active(np.nan_to_num(point, nan=0.5))):
            if is_active and name not in values:
                raise ArgumentError(argument, values, f'a configuration with {name!r}, which is active')
            if name in values and not is_active:
                raise ArgumentError(argument, values, f'a configuration without {name!r}, whose condition is not met')
        clause = self._violated_clause(point)
        if clause is not None:
            raise ArgumentError(argument, values, f'a configuration that the space does not forbid ({clause})')
        near = self._remembered.get(point.tobytes(), ())
        numbers = self._numbers(values) if near else {}
        return next((other for other in near if self._exact_values[other.tobytes()] == numbers), point)

    def remember(self, configuration: Mapping[str, object], argument: str) -> Array:
        """Return (d,) the point of a configuration that `from_unit` is to give back exactly; errors as of `to_unit`.

        Its numbers may be finer than the grid of coordinates, as whole numbers above 2^53 are. Of several at one point,
        the others get the next coordinates that a float can hold.
        """
        point = self.to_unit(configuration, argument)
        exact = self._numbers(configuration)
        if self._exact_values.get(point.tobytes()) == exact:
            return point
        first, point = point.tobytes(), point.copy()
        movable = [j for j, name in enumerate(self.names) if name in exact]
        while point.tobytes() in self._exact_values and movable:
            point[movable[0]] = np.nextafter(point[movable[0]], 1 if point[movable[0]] < 0.5 else 0)
        self._exact_values[point.tobytes()] = exact
        self._remembered.setdefault(first, []).append(point)
        return point

    def _numbers(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a legal configuration that are not tabulated, by name."""
        numbers = {n: t for n, t in self.transforms.items() if isinstance(t, Number) and n in configuration}
        return {n: int(configuration[n]) if t.whole else float(configuration[n]) for n, t in numbers.items()}

    def only_active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return, of a legal value for every hyperparameter, the active ones: a configuration, perhaps forbidden."""
        point = np.array([transform.to_unit(values[name]) for name, transform in self.transforms.items()])
        return {name: values[name] for name, is_active in zip(self.names, self._is_active(point)) if is_active}

    def is_legal(self, point: Array) -> bool:
        """Return whether no forbidden clause holds, in ConfigSpace's own judgment."""
        return self._violated_clause(point) is None

    def plain(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration as JSON can hold it: categories that are arbitrary objects by their repr."""
        plain = {name: plain_value(value) for name, value in configuration.items()}
        for name, texts in self._plain_choices.items():
            if name in plain and plain[name] is not configuration[name]:
                index = index_of(self._choices[name].values, configuration[name])
                plain[name] = plain[name] if index is None else texts[index]
        return plain

    def restore(self, plain: Mapping[str, Any], point: Array | None = None) -> dict[str, Any]:
        """Return the configuration that `plain` made this of; ArgumentError where no category has this plain form.

        Its point (d,), where it is known, tells categories apart whose text is not theirs alone, such as functions.
        """
        known = {} if point is None else dict(zip(self.names, self.check_point(point).tolist()))
        values = dict(plain)
        for name in [name for name in self._plain_choices if name in values]:
            transform, u = self._choices[name], known.get(name, math.nan)
            value = None if math.isnan(u) else transform.from_unit(u)
            if value is None or plain_value(value) is value:
                index = index_of(self._plain_choices[name], values[name])
                if index is None:
                    raise ArgumentError('configuration', dict(plain), f'for {name!r} {transform.accepted}')
                value = transform.values[index]
            values[name] = value
        return values

    @classmethod
    def restored(cls, configuration_space: ConfigurationSpace, candidates: Sequence[Mapping[str, Any]] | None) -> Space:
        """Return the space restricted to candidates as `plain` made them, if any; errors as above."""
        space = cls(configuration_space)
        if candidates is not None:
            space._finite = space._restricted_to([space.restore(plain) for plain in candidates])
        return space

    def check_point(self, point: Array) -> Array:
        """Return the point; raise ArgumentError unless it is (d,), each coordinate in [0, 1], or NaN."""
        if point.shape != (len(self.names),) or not ((point >= 0) & (point <= 1) | np.isnan(point)).all():
            raise ArgumentError('point', point, f'{len(self.names)} coordinates in [0, 1], NaN where inactive')
        return point

    def _sample_all(self, u: Array) -> Array:
        """Return (n, d) points as if every hyperparameter were active, of uniform random numbers u (n, d)."""
        return np.stack([transform.sample(u[:, j]) for j, transform in enumerate(self.transforms.values())], axis=1)

    def _sample(self, u: Array) -> Array:
        """Return (n, d) points, of uniform random numbers u (n, d)."""
        return deactivate(self._sample_all(u), self._conditions)

    def _is_active(self, point: Array) -> list[bool]:
        """Return whether each hyperparameter is active, of a point with a number for every one."""
        return [not math.isnan(u) for u in deactivate(point[None].copy(), self._conditions)[0]]

    def _violated_clause(self, point: Array) -> Any:
        configuration = self.from_unit(point) if self._forbidden else {}
        return next((clause for clause in self._forbidden if clause.is_forbidden_value(configuration)), None)

    def _enumerated(self) -> PointSet | None:
        """Return all legal points, if they are few."""
        points, weights = enumerate_points(list(self.transforms.values()), self._conditions)
        legal = [i for i, point in enumerate(points) if self.is_legal(point)]
        if not legal:
            return None
        return PointSet(points[legal], self.features, weights[legal] / weights[legal].sum())

    def _restricted_to(self, candidates: Sequence[Mapping[str, object]]) -> PointSet:
        """Return the candidates' points, repetitions dropped."""
        if isinstance(candidates, (str, Mapping)) or not hasattr(candidates, '__len__') or len(candidates) == 0:
            raise ArgumentError('candidates', candidates, 'a list of at least one configuration')
        points = {}
        for candidate in candidates:
            point = self.remember(candidate, 'candidates')
            points[point.tobytes()] = point
        listed = np.array(list(points.values()))
        return PointSet(listed, self.features, None)


def walk(space: Space, start: Array, rng: np.random.Generator, tried: Container[bytes]) -> Array | None:
    """Return (d,) a legal point not in `tried` that is found in small steps through legal ones; None if none is."""
    near = path = start[None]
    for _ in range(MAX_TRIES // 100):
        legal = [point for point in near if space.is_legal(point)]
        new = [point for point in legal if point.tobytes() not in tried]
        if new:
            return np.array(new[0])
        path = np.array([*path, *legal])[-100:]
        near = space.neighbors(rng, path, 100, scale=rng.choice([0.003, 0.03, 0.3]))
    return None
