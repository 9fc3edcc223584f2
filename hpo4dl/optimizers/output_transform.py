"""Metrics of any scale as targets of a Gaussian process: larger is better, about normal, no value far away.

A value's target z is the mean of two warps of it, each monotone:

- its *normal score*: Phi^-1 of its rank among the values seen, which spreads what is crowded, as accuracies are near
  their best; linear between the values seen;
- asinh((y - median) / interquartile range), which keeps what a rank forgets, that one is far better than the crowd.

Beyond the best value seen, each goes on as steep as it was there.

Both are bounded, so that a loss of 1e34 is as bad as one of 1e4. Neither changes with the scale of the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

WORST = -4.0
"""The least value that asinh gives; what failed has this as target."""
BEST = 10.0
"""The largest value that asinh gives for the best value seen."""
BEYOND = 3.0
"""How far each warp goes at most above the best value seen."""
LARGEST = 1e300
"""Values beyond it count as that much, so that differences are finite."""
TINY = 1e-300
"""What differences are divided by at least, so that quotients of finite numbers are."""


@dataclass(frozen=True)
class Normaliser:
    """From metrics to targets, as the metrics seen so far suggest."""

    values: Array
    """(k,) distinct values, ascending."""
    scores: Array
    """(k,) their normal scores."""
    slope: float
    """Of the scores just below the best value."""
    centre: float
    scale: float

    @classmethod
    def of(cls, y: Array) -> Normaliser:
        """The normaliser for the finite values seen, y (n,), n > 0."""
        y = _bounded(y)
        values, counts = np.unique(y, return_counts=True)
        scores = ndtri((np.cumsum(counts) - counts / 2) / len(y))
        below = len(values) - 1 - max(1, len(values) // 20)
        steep = len(values) > 1
        slope = (scores[-1] - scores[below]) / max(values[-1] - values[below], TINY) if steep else 0.0
        low, centre, high = np.percentile(y, [25, 50, 75])
        # Where most values are equal, the farthest one sets the scale; where all are, their size does.
        scale = (high - low) / 1.349 or np.abs(y - centre).max() or abs(centre)
        return cls(values, scores, float(slope), float(centre), max(float(scale), TINY))

    def __call__(self, y: Array) -> Array:
        """Targets of values y, of any shape."""
        y = _bounded(y)
        best = self.values[-1]
        score = np.interp(y, self.values, self.scores, left=self.scores[0] - 0.5)
        with np.errstate(over='ignore'):
            asinh = np.clip(np.arcsinh((np.minimum(y, best) - self.centre) / self.scale), WORST, BEST)
            beyond = [np.minimum(np.maximum(y - best, 0) * slope, BEYOND) for slope in self._slopes()]
        # Rounded, so that decisions do not depend on how the metric's unit is rounded.
        return np.asarray(np.round((score + asinh + sum(beyond)) / 2, 9))

    def inverse(self, z: Array) -> Array:
        """Values with targets z, of any shape: the smallest and largest that can be told apart for z beyond those."""
        # Beyond the best value both warps go on until they are `BEYOND` their targets of it.
        ends = sorted(self.values[-1] + BEYOND / slope for slope in self._slopes() if slope > 0)
        values = np.concatenate([self.values, ends])
        return np.asarray(np.interp(z, self(values), values))

    def _slopes(self) -> tuple[float, float]:
        """Of both warps at the best value."""
        return self.slope, float(1 / np.hypot(self.scale, self.values[-1] - self.centre))


def _bounded(y: Array) -> Array:
    return np.clip(y, -LARGEST, LARGEST)
