"""One hyperparameter as one coordinate u in [0, 1].

The coordinate of a number is its cumulative probability under the hyperparameter's own distribution: a uniform u is a
draw from it. Where there are few values (categories, ranks, small integers) each has a cell, and u is its centre.

Coordinates are *canonical*: `locate(decode(u))` is u, to the last bit. For that they lie on a grid that is coarse (12
decimals) against the rounding errors of logarithms and quantiles, whose last digits differ from machine to machine.
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

from ..trial import Array
from .distributions import Beta, Distribution, FlatTails, Log, Normal, Uniform

FEW = 10_000
"""Integers of at most that many values are tabulated."""


class Choices:
    """A hyperparameter that takes one of few values.

    Args:
        values: (m,) the values, ascending if they are numbers.
        probability: (m,) of each, up to a factor.
        kind: 'category'; 'rank', whose neighbours are the next ranks; or 'number'.
    """

    def __init__(self, values: Sequence[Any], probability: Array, kind: str) -> None:
        self.values = [value.item() if isinstance(value, np.generic) else value for value in values]
        self.kind = kind
        m = len(self.values)
        self.probability = probability / probability.sum()
        self.possible = np.flatnonzero(self.probability)
        self.can_move = len(self.possible) > 1
        self.n_features = 0 if m == 1 else m if kind == 'category' else 1
        width = self.probability if kind == 'number' else np.full(m, 1 / m)
        self.centres: Array = np.round(np.cumsum(width) - width / 2, 12)
        self._borders = (self.centres[1:] + self.centres[:-1]) / 2
        self._cumulative = np.cumsum(self.probability[self.possible])
        self.accepted = f'one of {self.values}'
        if kind == 'number':
            self.accepted = f'an integer from {self.values[0]} to {self.values[-1]}'

    def index(self, u: Array) -> NDArray[np.intp]:
        return np.searchsorted(self._borders, u)

    def sample(self, u: Array) -> Array:
        """Coordinates of draws, from uniform u."""
        drawn = np.searchsorted(self._cumulative[:-1], u, side='right')
        return np.asarray(self.centres[self.possible[drawn]])

    def decode(self, u: float) -> Any:
        return self.values[int(self.index(np.array(u)))]

    def locate(self, value: Any) -> float | None:
        """The coordinate of a value; None if it is not accepted."""
        if self.kind != 'number':
            index = find(self.values, value)
            return None if index is None else float(self.centres[index])
        if not _is_within(value, self.values[0], self.values[-1], whole=True):
            return None
        return float(self.centres[int(value) - self.values[0]])

    def threshold(self, value: Any) -> float:
        """The coordinate that a condition compares with; between those of two numbers for one that lies between."""
        if self.kind == 'number':
            return float(np.interp(value, self.values, self.centres, left=-1.0, right=2.0))
        return float(self.centres[find(self.values, value)])

    def move(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        """Another value than each u's."""
        index, n = self.index(u), len(u)
        if self.kind == 'category':
            place = np.searchsorted(self.possible, index)
            is_possible = self.probability[index] > 0
            other = (rng.random(n) * (len(self.possible) - is_possible)).astype(np.intp)
            return np.asarray(self.centres[self.possible[other + (is_possible & (other >= place))]])
        moved = self.index(_reflect(u + scale * rng.standard_normal(n))) if self.kind == 'number' else index
        step = np.where(rng.random(n) < 0.5, 1, -1)
        step = np.where((index + step < 0) | (index + step == len(self.values)), -step, step)
        return np.asarray(self.centres[np.where(moved == index, index + step, moved)])

    def encode(self, u: Array) -> Array:
        """(n, n_features)"""
        if self.kind != 'category':
            return np.nan_to_num(u, nan=0.5)[:, None]
        one_hot = self.index(u)[:, None] == np.arange(len(self.values))
        return np.where(np.isnan(u)[:, None], 0.0, one_hot / math.sqrt(2))


@dataclass(frozen=True)
class Number:
    """A hyperparameter with a continuum of values, or too many to tabulate.

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
    can_move = True
    n_features = 1

    @cached_property
    def grid(self) -> float:
        """Coordinates are multiples of 1 / grid."""
        u = np.linspace(0, 1, 1001)
        error = np.max(np.abs(self.distribution.cumulative(self.distribution.quantile(u)) - u))
        # Two decimals fewer than survive the way to the value and back; few do if the range is narrow and far from 0.
        return float(10.0 ** int(np.clip(-np.log10(max(error, 1e-16)) - 2, 2, 12)))

    @property
    def accepted(self) -> str:
        return f'{"an integer" if self.whole else "a number"} from {self.lower} to {self.upper}'

    def coordinate(self, value: Array) -> Array:
        u = np.clip(self.distribution.cumulative(value), 0, 1)
        return np.asarray(np.rint(u * self.grid) / self.grid + 0.0)  # + 0.0: no negative zero, bytes are compared

    def value(self, u: Array) -> Array:
        value = self.distribution.quantile(u)
        if self.whole:
            value = self.origin + np.rint(value - self.origin)
        return np.clip(value, self.lower, self.upper)

    def sample(self, u: Array) -> Array:
        """Coordinates of draws, from uniform u."""
        u = np.rint(u * self.grid) / self.grid
        # Where integers lie closer than the grid, u may be rounded to a neighbor's: go on until it stays.
        for _ in range(3 if self.whole else 0):
            before, u = u, self.coordinate(self.value(u))
            if np.array_equal(before, u):
                break
        return u

    def decode(self, u: float) -> Any:
        """The value; the shortest of 10 and 13 digits if that means the same, so that 0.001 comes back as 0.001."""
        value = float(self.value(np.array(u)))
        if self.whole:
            return int(value)
        for short in (float(f'{value:.10g}'), float(f'{value:.13g}')):
            error = abs(self.distribution.cumulative(np.array(short)) - u)
            if self.lower <= short <= self.upper and error < 0.4 / self.grid:
                return short
        return value

    def locate(self, value: Any) -> float | None:
        """The coordinate of a value; None if it is not accepted."""
        if not _is_within(value, self.lower, self.upper, self.whole):
            return None
        u = self.coordinate(np.array([float(value)]))
        return float((self.sample(u) if self.whole else u)[0])

    def threshold(self, value: Any) -> float:
        """The coordinate that a condition compares with."""
        return float(self.coordinate(np.clip(float(value), self.lower, self.upper)))

    def move(self, rng: np.random.Generator, u: Array, scale: float) -> Array:
        """Another value than each u's."""
        moved = self.sample(_reflect(u + scale * rng.standard_normal(len(u))))
        if self.whole:
            value, step = self.value(u), np.where(rng.random(len(u)) < 0.5, 1, -1)
            step = np.where((value + step < self.lower) | (value + step > self.upper), -step, step)
            moved = np.where(moved == u, self.sample(self.coordinate(value + step)), moved)
        return moved

    def encode(self, u: Array) -> Array:
        """(n, 1)"""
        return np.nan_to_num(u, nan=0.5)[:, None]


Coordinate = Choices | Number


def hyperparameter_coordinate(hyperparameter: Any) -> Coordinate:
    """What a ConfigSpace hyperparameter is in the cube."""
    if isinstance(hyperparameter, kinds.Constant):
        return Choices([hyperparameter.value], np.ones(1), 'category')
    if isinstance(hyperparameter, kinds.CategoricalHyperparameter):
        return Choices(hyperparameter.choices, np.array(hyperparameter.probabilities, dtype=float), 'category')
    if isinstance(hyperparameter, kinds.OrdinalHyperparameter):
        return Choices(hyperparameter.sequence, np.ones(len(hyperparameter.sequence)), 'rank')

    whole, is_normal = isinstance(hyperparameter, kinds.IntegerHyperparameter), hasattr(hyperparameter, 'mu')
    lower, upper = hyperparameter.lower, hyperparameter.upper
    low, high = float(lower), float(upper)
    if whole:  # an integer stands for the numbers that are rounded to it
        low, high = lower - 0.5, upper + 0.5
    if hyperparameter.log:
        low, high = math.log(low), math.log(high)
    distribution: Distribution = Uniform(low, high)
    if hasattr(hyperparameter, 'alpha'):
        distribution = FlatTails(Beta(low, high, hyperparameter.alpha, hyperparameter.beta))
    elif is_normal:
        normal = Normal(low, high, *_moments(hyperparameter))
        if normal._standard[-1] > 1e-290:
            distribution = FlatTails(normal)
    if hyperparameter.log:
        distribution = Log(distribution)

    if whole and upper - lower < FEW:
        values = range(lower, upper + 1)
        between = distribution.cumulative(np.array(values[:-1]) + 0.5)
        return Choices(values, np.diff([0.0, *between, 1.0]).clip(0), 'number')
    return Number(distribution, lower, upper, whole, origin=0 if is_normal else lower)


def _moments(hyperparameter: Any) -> tuple[float, float]:
    """Mean and standard deviation of a normal hyperparameter, on its scale."""
    mu, sigma = float(hyperparameter.mu), float(hyperparameter.sigma)
    if hyperparameter.log:  # ConfigSpace gives both on the linear scale, and converts sigma like this
        return math.log(mu), max(abs(math.log(hyperparameter.lower + sigma)), 1e-9)
    return mu, sigma


def find(values: Sequence[Any], value: Any) -> int | None:
    """Where `value` is among `values`: the object itself, else the first equal one."""
    for i, known in enumerate(values):
        if known is value:
            return i
    if hasattr(value, '__array__') and not isinstance(value, np.generic):
        return None  # its == would return an array
    return next((i for i, known in enumerate(values) if known == value), None)


def _is_within(value: Any, lower: float, upper: float, whole: bool) -> bool:
    is_number = isinstance(value, (Real, np.bool_))
    return is_number and bool(lower <= value <= upper) and (not whole or value == int(value))


def _reflect(u: Array) -> Array:
    """Back into [0, 1], as if its ends were mirrors."""
    return np.asarray(1 - np.abs(1 - np.mod(u, 2)))
