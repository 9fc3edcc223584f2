"""Distributions of numbers from low to high: cdf takes values to cumulative probabilities u, ppf is its inverse.

SciPy's own truncated normal takes a hundred times as long as this one: longer than a decision may.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from ..trial import Array

FLAT = 1e-6
"""Probability of the part at either end of a normal or beta distribution over which it is spread evenly."""


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def cdf(self, value: Array) -> Array:
        return (value - self.low) / (self.high - self.low)

    def ppf(self, u: Array) -> Array:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class Beta:
    """Beta(alpha, beta), stretched from [0, 1] to [low, high]."""

    low: float
    high: float
    alpha: float
    beta: float

    def cdf(self, value: Array) -> Array:
        share = np.clip((value - self.low) / (self.high - self.low), 0, 1)
        return np.asarray(special.betainc(self.alpha, self.beta, share))

    def ppf(self, u: Array) -> Array:
        return np.asarray(self.low + (self.high - self.low) * special.betaincinv(self.alpha, self.beta, u))


@dataclass(frozen=True)
class Normal:
    """N(mean, deviation^2), truncated to [low, high]."""

    low: float
    high: float
    mean: float
    deviation: float

    @cached_property
    def standard(self) -> tuple[float, float, float, float, float]:
        """scale, left, right, P(z < left), P(left < z < right), all of z = (value - mean) / scale."""
        # Probabilities near 1 have lost their digits: in the upper tail, look at the mirror image (scale < 0).
        scale = self.deviation if self.low + self.high < 2 * self.mean else -self.deviation
        left, right = sorted([(self.low - self.mean) / scale, (self.high - self.mean) / scale])
        return scale, left, right, special.ndtr(left), special.ndtr(right) - special.ndtr(left)

    def cdf(self, value: Array) -> Array:
        scale, _, _, below, mass = self.standard
        share = (special.ndtr((value - self.mean) / scale) - below) / mass
        return np.asarray(share if scale > 0 else 1 - share)

    def ppf(self, u: Array) -> Array:
        scale, left, right, below, mass = self.standard
        z = special.ndtri(below + mass * (u if scale > 0 else 1 - u))
        return np.asarray(self.mean + scale * np.clip(z, left, right))


@dataclass(frozen=True)
class FlatTails:
    """`core`, but uniform over the outermost `FLAT` of probability at either end: no value is too rare for the grid."""

    core: Beta | Normal

    @cached_property
    def _knots(self) -> tuple[Array, Array]:
        """Where it is flat: from u[0] to u[1], that is value[0] to value[1], and from u[2] to u[3]."""
        u = np.array([0, FLAT, 1 - FLAT, 1])
        left, right = self.core.ppf(u[1:3])
        return u, np.array([self.core.low, left, right, self.core.high])

    def cdf(self, value: Array) -> Array:
        u, knots = self._knots
        is_flat = (value < knots[1]) | (value > knots[2])
        return np.where(is_flat, np.interp(value, knots, u), self.core.cdf(value))

    def ppf(self, u: Array) -> Array:
        flat, knots = self._knots
        is_flat = (u < FLAT) | (u > 1 - FLAT)
        return np.where(is_flat, np.interp(u, flat, knots), self.core.ppf(u))


@dataclass(frozen=True)
class Log:
    """A number whose logarithm has the given distribution."""

    logarithm: Distribution

    def cdf(self, value: Array) -> Array:
        return self.logarithm.cdf(np.log(value))

    def ppf(self, u: Array) -> Array:
        return np.exp(self.logarithm.ppf(u))


Distribution = Uniform | Beta | Normal | FlatTails | Log
