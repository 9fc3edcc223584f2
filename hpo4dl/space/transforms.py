"""One hyperparameter as one coordinate of the unit cube.

    u                       (n,) coordinates in [0, 1], but one in `from_unit`; NaN where the hyperparameter is inactive
    sample(u)               (n,) the coordinates of draws, of uniform random numbers
    from_unit(u)            the value at u, a native Python object
    to_unit(value)          the coordinate of a value; None if it is not accepted
    condition_value(value)  the coordinate that a condition compares with
    features(u)             (n, n_features) what the surrogate sees of u
    perturb(rng, u, scale)  (n,) coordinates of other values, numbers with noise of standard deviation `scale`

The coordinate of a number is its cumulative probability under the hyperparameter's own distribution: a uniform u is a
draw from it. Where there are few values (categories, ranks, small integers) each has a cell, and u is its center.

Coordinates are *canonical*: `to_unit(from_unit(u))` is u, to the last bit. For that they lie on a grid that is coarse
(12 decimals) against the rounding errors of logarithms and inverse distribution functions, whose last digits differ
from machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from ConfigSpace import hyperparameters as kinds
from numpy.typing import NDArray

from ..text import brief
from ..trial import Array
from .distributions import Beta, Distribution, FlatTails, Log, Normal, Uniform

MAX_TABULATED = 10_000
"""Integers of at most that many values are tabulated."""


class Choices:
    """What all hyperparameters of few values (m,) have in common.

    `probability` (m,) is up to a factor, and `width` (m,) that of the cells; default: all are equally wide.
    """

    def __init__(self, values: Sequence[Any], probability: Array, width: Array | None = None) -> None:
        m = len(values)
        self.values = [native(value) for value in values]
        self.probability = probability / probability.sum()
        self.possible = np.flatnonzero(self.probability)
        self.is_movable = len(self.possible) > 1
        self.accepted = f'one of {brief(self.values, 1000)}'
        width = np.full(m, 1 / m) if width is None else width
        self.centers: Array = np.round(np.cumsum(width) - width / 2, 12)
        self._borders = (self.centers[1:] + self.centers[:-1]) / 2
        self._cdf = np.cumsum(self.probability[self.possible])
        self.n_features = self.features(self.centers[:1]).shape[1] if m > 1 else 0

    def index(self, u: Array) -> NDArray[np.intp]:
        return np.searchsorted(self._borders, u)

    def sample(self, u: Array) -> Array:
        drawn = np.searchsorted(self._cdf[:-1], u, side='right')
        return np.asarray(self.centers[self.possible[drawn]])

    def from_unit(self, u: float) -> Any:
        return self.values[int(self.index(np.array(u)))]

    def to_unit(self, value: Any) -> float | None:
        index = index_of(self.values, value)
        return None if index is None else float(self.centers[index])

    def condition_value(self, value: Any) -> float:
        return float(self.centers[index_of(self.values, value)])

    def features(self, u: Array) -> Array:
        return np.nan_to_num(u, nan=0.5)[:, None]

    def _or_next(self, rng: np.random.Generator, moved: NDArray[np.intp], index: NDArray[np.intp]) -> Array:
        """Return the coordinates of the values `moved`; of a random neighbor where that is `index` itself."""
        step = np.where(rng.random(len(index)) < 0.5, 1, -1)
        step = np.where((index + step < 0) | (index + step == len(self.values)), -step, step)
        return np.asarray(self.centers[np.where(moved == index, index + step, moved)])


class Category(Choices):
    """One of a few values in no order."""

    def perturb(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        index = self.index(u)
        place = np.searchsorted(self.possible, index)
        is_possible = self.probability[index] > 0
        other = (rng.random(len(u)) * (len(self.possible) - is_possible)).astype(np.intp)
        return np.asarray(self.centers[self.possible[other + (is_possible & (other >= place))]])

    def features(self, u: Array) -> Array:
        """Return one-hot / sqrt(2), so that any two categories are 1 apart; 0 where u is inactive."""
        one_hot = np.zeros((len(u), len(self.values)))
        active = np.flatnonzero(~np.isnan(u))
        one_hot[active, self.index(u[active])] = 1 / math.sqrt(2)
        return one_hot


class Rank(Choices):
    """One of a few values in an order, which are all equally far from the next."""

    def perturb(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        index = self.index(u)
        return self._or_next(rng, index, index)


class SmallInteger(Choices):
    """One of a few successive integers; each cell is as wide as its integer is probable."""

    def __init__(self, values: Sequence[int], probability: Array) -> None:
        super().__init__(values, probability, probability / probability.sum())
        self.accepted = f'an integer from {self.values[0]} to {self.values[-1]}'

    def to_unit(self, value: Any) -> float | None:
        is_accepted = _is_within(value, self.values[0], self.values[-1], whole=True)
        return float(self.centers[int(value) - self.values[0]]) if is_accepted else None

    def condition_value(self, value: Any) -> float:
        """Return, for a number between two integers, a coordinate between theirs."""
        return float(np.interp(value, self.values, self.centers, left=-1.0, right=2.0))

    def perturb(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        moved = self.index(_reflect(u + scale * rng.standard_normal(len(u))))
        return self._or_next(rng, moved, self.index(u))


@dataclass(frozen=True)
class Number:
    """A hyperparameter with a continuum of values, or too many integers to tabulate.

    Args:
        distribution: of its values.
        lower, upper: the bounds, both accepted.
        whole: whether the values are integers.
        origin: where integers are counted from, when a number halfway between two is rounded to an even count.
    """

    distribution: Distribution
    lower: float
    upper: float
    whole: bool
    origin: float
    is_movable = True
    n_features = 1

    @cached_property
    def grid(self) -> float:
        """Coordinates are multiples of 1 / grid."""
        u = np.linspace(0, 1, 1001)
        error = np.max(np.abs(self.distribution.cdf(self.distribution.ppf(u)) - u))
        # Two decimals fewer than survive the way to the value and back; few do if the range is narrow and far from 0.
        return float(10.0 ** int(np.clip(-np.log10(max(error, 1e-16)) - 2, 2, 12)))

    @property
    def accepted(self) -> str:
        return f'{"an integer" if self.whole else "a number"} from {self.lower} to {self.upper}'

    def cdf(self, value: Array) -> Array:
        u = np.clip(self.distribution.cdf(value), 0, 1)
        return np.asarray(np.rint(u * self.grid) / self.grid + 0.0)  # + 0.0: no negative zero, bytes are compared

    def ppf(self, u: Array) -> Array:
        value = self.distribution.ppf(u)
        if self.whole:
            value = self.origin + np.rint(value - self.origin)
        return np.clip(value, self.lower, self.upper)

    def sample(self, u: Array) -> Array:
        u = np.rint(u * self.grid) / self.grid
        # Where integers lie closer than the grid, u may be rounded to a neighbor's: go on until it stays.
        for _ in range(3 if self.whole else 0):
            before, u = u, self.cdf(self.ppf(u))
            if np.array_equal(before, u):
                break
        return u

    def from_unit(self, u: float) -> Any:
        """Return the value; the shortest of 10 and 13 digits if that means the same, so that 0.001 stays 0.001."""
        value = float(self.ppf(np.array(u)))
        if self.whole:
            return int(value)
        for short in (float(f'{value:.10g}'), float(f'{value:.13g}')):
            error = abs(self.distribution.cdf(np.array(short)) - u)
            if self.lower <= short <= self.upper and error < 0.4 / self.grid:
                return short
        return value

    def to_unit(self, value: Any) -> float | None:
        if not _is_within(value, self.lower, self.upper, self.whole):
            return None
        u = self.cdf(np.array([float(value)]))
        return float((self.sample(u) if self.whole else u)[0])

    def condition_value(self, value: Any) -> float:
        return float(self.cdf(np.clip(float(value), self.lower, self.upper)))

    def perturb(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        moved = self.sample(_reflect(u + scale * rng.standard_normal(len(u))))
        if self.whole:
            value, step = self.ppf(u), np.where(rng.random(len(u)) < 0.5, 1, -1)
            step = np.where((value + step < self.lower) | (value + step > self.upper), -step, step)
            moved = np.where(moved == u, self.sample(self.cdf(value + step)), moved)
        return moved

    def features(self, u: Array) -> Array:
        return np.nan_to_num(u, nan=0.5)[:, None]


UnitTransform = Category | Rank | SmallInteger | Number


def transform_of(hyperparameter: Any) -> UnitTransform:
    """Return the transform of a ConfigSpace hyperparameter."""
    if isinstance(hyperparameter, kinds.Constant):
        return Category([hyperparameter.value], np.ones(1))
    if isinstance(hyperparameter, kinds.CategoricalHyperparameter):
        return Category(hyperparameter.choices, np.array(hyperparameter.probabilities, dtype=float))
    if isinstance(hyperparameter, kinds.OrdinalHyperparameter):
        return Rank(hyperparameter.sequence, np.ones(len(hyperparameter.sequence)))

    whole, is_normal = isinstance(hyperparameter, kinds.IntegerHyperparameter), hasattr(hyperparameter, 'mu')
    lower, upper = hyperparameter.lower, hyperparameter.upper
    low, high = (lower - 0.5, upper + 0.5) if whole else (lower, upper)  # an integer stands for what is rounded to it
    if hyperparameter.log:
        low, high = math.log(low), math.log(high)
    distribution: Distribution = Uniform(low, high)
    if hasattr(hyperparameter, 'alpha'):
        distribution = FlatTails(Beta(low, high, hyperparameter.alpha, hyperparameter.beta))
    elif is_normal:
        mean, deviation = float(hyperparameter.mu), float(hyperparameter.sigma)
        if hyperparameter.log:  # ConfigSpace gives both on the linear scale, and converts them like this
            mean, deviation = math.log(mean), max(abs(math.log(lower + deviation)), 1e-9)
        normal = Normal(low, high, mean, deviation)
        distribution = FlatTails(normal) if normal.standard[-1] > 1e-290 else distribution
    if hyperparameter.log:
        distribution = Log(distribution)

    if whole and upper - lower < MAX_TABULATED:
        values = range(lower, upper + 1)
        between = distribution.cdf(np.array(values[:-1]) + 0.5)
        return SmallInteger(values, np.diff([0.0, *between, 1.0]).clip(0))
    return Number(distribution, lower, upper, whole, origin=0 if is_normal else lower)


def native(value: Any) -> Any:
    """Return a NumPy scalar as the Python object that it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def index_of(values: Sequence[Any], value: Any) -> int | None:
    """Return where `value` is among `values`: the object itself, else the first equal one; None if it is not."""
    found = [i for i, known in enumerate(values) if known is value]
    found = found or [i for i, known in enumerate(values) if is_same(known, value)]
    return found[0] if found else None


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, or both NaN; False where they cannot be compared, as arrays cannot."""
    try:
        return bool(one == other) or bool(one != one and other != other)
    except Exception:
        return False


def _is_within(value: Any, lower: float, upper: float, whole: bool) -> bool:
    is_number = isinstance(value, (Real, np.bool_))
    return is_number and bool(lower <= value <= upper) and (not whole or value == int(value))


def _reflect(u: Array) -> Array:
    """Return u brought back into [0, 1], as if its ends were mirrors."""
    return np.asarray(1 - np.abs(1 - np.mod(u, 2)))
