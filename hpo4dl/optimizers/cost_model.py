"""What training will cost: a trial's own pace where it is known, else a Gaussian process over configurations.

n       trials whose costs were told
F       (n, p) their features
y       (n,) standardized logarithms of their paces; a pace is the mean cost of an epoch
l       length scale, in units of sqrt(p)
s2      variance of the noise, as a share of that of y

Costs of one space differ by factors, and hyperparameters multiply them: so logarithms are learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..space.unit_cube import Space
from ..surrogate.kernels import matern52, squared_distance
from ..trial import Array, LearningCurve

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (1e-3, 1e-2, 1e-1, 0.5)
MAX_TRIALS = 200
"""That are learned from, the latest ones: it bounds the time that a fit takes."""
FLOOR = 1e-9
"""Least pace, as a share of the largest: what costs nothing has no logarithm."""


@dataclass(frozen=True)
class CostModel:
    """Predicts costs, in the unit in which they were told."""

    space: Space
    paces: dict[int, float]
    """By trial, logarithms."""
    features: Array
    weights: Array
    """(n,) K^-1 y"""
    length: float
    mean: float
    scale: float

    @classmethod
    def fit(cls, space: Space, curves: Iterable[LearningCurve]) -> CostModel | None:
        """Fit to the costs of these curves; None where none were told, or all are 0."""
        known = {curve.trial_id: (curve, pace) for curve in curves if (pace := pace_of(curve)) is not None}
        largest = max((pace for _, pace in known.values()), default=0.0)
        if largest == 0:
            return None
        paces = {trial_id: math.log(max(pace, FLOOR * largest)) for trial_id, (_, pace) in known.items()}
        learned = list(known)[-MAX_TRIALS:]
        F = space.features(np.array([known[trial_id][0].point for trial_id in learned]))
        logs = np.array([paces[trial_id] for trial_id in learned])
        mean, scale = float(logs.mean()), float(logs.std()) or 1.0
        y = (logs - mean) / scale
        length, noise = max(product(LENGTHS, NOISES), key=lambda pair: log_likelihood(F, y, *pair))
        weights = cho_solve(cho_factor(matern(F, F, length) + noise * np.eye(len(y))), y)
        return cls(space, paces, F, weights, length, mean, scale)

    def log_pace(self, trials: Sequence[LearningCurve] | Array) -> Array:
        """(m,) logarithms of the cost of an epoch of m trials, or of m points (m, d) that no trial has."""
        points = trials if isinstance(trials, np.ndarray) else np.array([curve.point for curve in trials])
        features = self.space.features(points.reshape(-1, len(self.space.names)))
        predicted = self.mean + self.scale * matern(features, self.features, self.length) @ self.weights
        if not isinstance(trials, np.ndarray):
            own = [self.paces.get(curve.trial_id, math.nan) for curve in trials]
            predicted = np.where(np.isnan(own), predicted, own)
        return np.asarray(predicted)


def log_prices(
    model: CostModel | None, paused: Sequence[LearningCurve], points: Array, exponent: float
) -> Array | float:
    """(k + m,) how much less k paused trials, then m new points, are worth than one of the usual pace, in logarithms.

    The pace counts, not the length of a step: where all paces are equal, all are 0, and decisions are those of a race
    that counts epochs.
    """
    if model is None:
        return 0.0
    return exponent * (np.concatenate([model.log_pace(paused), model.log_pace(points)]) - model.mean)


def pace_of(curve: LearningCurve) -> float | None:
    """The mean cost of an epoch of a trial, over those whose cost was told; None where none was."""
    lengths = np.diff(curve.epochs, prepend=0)
    told = ~np.isnan(curve.costs)
    return float(np.array(curve.costs)[told].sum() / lengths[told].sum()) if told.any() else None


def matern(A: Array, B: Array, length: float) -> Array:
    """(a, b) Matern kernel, nu = 5/2, of rows (a, p) and (b, p)."""
    return matern52(squared_distance(A, B) / (length**2 * max(A.shape[1], 1)))


def log_likelihood(F: Array, y: Array, length: float, noise: float) -> float:
    """Log marginal likelihood of y, its scale profiled out, up to a constant."""
    L, _ = cho_factor(matern(F, F, length) + noise * np.eye(len(y)), lower=True)
    quadratic = float(y @ cho_solve((L, True), y))
    return -0.5 * len(y) * math.log(max(quadratic, 1e-12) / len(y)) - float(np.log(np.diag(L)).sum())
