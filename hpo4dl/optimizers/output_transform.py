"""Values of any scale as targets of a Gaussian process: larger is better, about standard normal, none far away.

    y   values, the finite ones seen so far for `OutputTransform.fit`, any for a call
    z   targets, the weighted mean of two monotone warps of y

The warps are

- the normal score, Phi^-1 of the rank among the values seen, which spreads what is crowded, as accuracies are near
  their best; linear between the values seen;
- asinh((y - median) / interquartile range), which keeps what a rank forgets: that one is far better than the crowd.

Above the best value seen, each continues with the slope that it has there. Both are bounded, so that a loss of 1e34 is
as bad as one of 1e4. Neither changes with the scale of the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ..trial import Array
from .policy import Policy

LARGEST = 1e300
"""Values are clipped to +-`LARGEST`, so that their differences are finite."""
TINY = 1e-300
"""Floor of denominators, so that quotients of finite numbers are finite."""


@dataclass(frozen=True)
class OutputTransform:
    """From values to targets, as fitted to the values seen so far."""

    values: Array
    """(k,) distinct values, ascending."""
    scores: Array
    """(k,) their normal scores."""
    slope: float
    """Slope of the scores just below the best value."""
    center: float
    scale: float
    policy: Policy

    @classmethod
    def fit(cls, y: Array, policy: Policy) -> OutputTransform:
        """Fit to the finite values seen, y (n,), n > 0."""
        y = _bounded(y)
        values, counts = np.unique(y, return_counts=True)
        scores = ndtri((np.cumsum(counts) - counts / 2) / len(y))
        below = len(values) - 1 - max(1, len(values) // 20)
        steep = len(values) > 1
        slope = (scores[-1] - scores[below]) / max(values[-1] - values[below], TINY) if steep else 0.0
        low, center, high = np.percentile(y, [25, 50, 75])
        # Where most values are equal, the farthest one sets the scale; where all are, their size does.
        scales = ((high - low) / 1.349, np.abs(y - center).max(), abs(center), TINY)
        scale = next(float(scale) for scale in scales if scale > 0)
        return cls(values, scores, float(slope), float(center), max(scale, TINY), policy)

    def __call__(self, y: Array) -> Array:
        """Targets of values y, of any shape."""
        y = _bounded(y)
        best, policy = self.values[-1], self.policy
        score = np.interp(y, self.values, self.scores, left=self.scores[0] - 0.5)
        if not np.isfinite(score).all():  # between values that are too close for floating point: the next one's
            following = self.scores[np.minimum(np.searchsorted(self.values, y), len(self.values) - 1)]
            score = np.where(np.isfinite(score), score, following)
        with np.errstate(over='ignore'):
            asinh = np.arcsinh((np.minimum(y, best) - self.center) / self.scale)
            asinh = np.clip(asinh, policy.failed_target, policy.max_asinh)
            beyond = [np.minimum(np.maximum(y - best, 0) * slope, policy.max_beyond) for slope in self._slopes()]
        w = policy.rank_weight
        z = w * score + (1 - w) * asinh + (w * beyond[0] + (1 - w) * beyond[1])
        return np.asarray(np.round(z, 9))  # so that decisions do not depend on how the metric's unit is rounded

    def inverse(self, z: Array) -> Array:
        """Values of targets z, of any shape; targets beyond the bounds have the values at the bounds."""
        # Above the best value a warp grows until it is `max_beyond` above that value's target.
        ends = sorted(self.values[-1] + self.policy.max_beyond / slope for slope in self._slopes() if slope > 0)
        values = np.concatenate([self.values, ends])
        return np.asarray(np.interp(z, self(values), values))

    def _slopes(self) -> tuple[float, float]:
        """Slopes of both warps at the best value."""
        return self.slope, float(1 / np.hypot(self.scale, self.values[-1] - self.center))


def _bounded(y: Array) -> Array:
    return np.clip(y, -LARGEST, LARGEST)
