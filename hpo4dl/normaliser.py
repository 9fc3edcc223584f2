"""Metrics of any scale as targets of a Gaussian process: larger is better, about normal, no value far away.

A value's target z is the mean of two warps of it, each monotone:

- its *normal score*: Phi^-1 of its rank among the values seen, which spreads what is crowded, as accuracies are near
  their best; linear between the values seen, and beyond the best one as steep as it was just below;
- asinh((y - median) / interquartile range), which keeps what a rank forgets, that one is far better than the crowd.

Both are bounded below, so that a loss of 1e34 is as bad as one of 1e4. Neither changes with the scale of the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

WORST = -4.0
"""The least value that asinh gives; what failed has this as target."""
BEYOND = 3.0
"""How far each warp goes at most above the best value seen."""


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
        values, counts = np.unique(y, return_counts=True)
        scores = ndtri((np.cumsum(counts) - counts / 2) / len(y))
        below = len(values) - 1 - max(1, len(values) // 20)
        steep = len(values) > 1
        slope = (scores[-1] - scores[below]) / (values[-1] - values[below]) if steep else 0.0
        low, centre, high = np.percentile(y, [25, 50, 75])
        # Where most values are equal, the farthest one sets the scale.
        scale = (high - low) / 1.349 or np.abs(y - centre).max()
        usable = np.isfinite(scale) and scale > 0
        return cls(values, scores, float(slope), float(centre), float(scale) if usable else 1.0)

    def __call__(self, y: Array) -> Array:
        """Targets of values y, of any shape."""
        with np.errstate(over='ignore', invalid='ignore'):
            beyond = np.nan_to_num(np.maximum(y - self.values[-1], 0) * self.slope, nan=BEYOND)
            asinh = np.arcsinh((y - self.centre) / self.scale)
        score = np.interp(y, self.values, self.scores, left=self.scores[0] - 0.5) + np.minimum(beyond, BEYOND)
        top = np.arcsinh((self.values[-1] - self.centre) / self.scale)
        # Rounded, so that decisions do not depend on how the metric's unit is rounded.
        return np.asarray(np.round((score + np.clip(asinh, WORST, top + BEYOND)) / 2, 9))
