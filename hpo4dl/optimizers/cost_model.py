"""What training will cost: a trial's own pace where it is known, else a Gaussian process over configurations.

n       trials whose costs were told
F       (n, p) their features
y       (n,) standardized logarithms of their paces; a pace is the mean cost of an epoch
theta   (p + 2,) logarithms of the length scales, of the variance of the noise, and of that of the process

Costs of one space differ by factors, and hyperparameters multiply them: so logarithms are learned. A few of the
hyperparameters set the cost (layers, width, batch size), so each has a length scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from ..space.unit_cube import Space
from ..surrogate.kernels import matern52, squared_distance
from ..trial import Array, LearningCurve

PRIORS = ((0.7, 1.0), (-3.0, 1.5), (0.0, 0.5))
"""Means and standard deviations of the normal priors of theta; log(p) / 2 is added to the first mean."""
MAX_TRIALS = 100
"""That are learned from, the latest ones: it bounds the time that a fit takes."""
MAX_ITERATIONS = 50
"""Of L-BFGS."""
FLOOR = 1e-9
"""Least pace, as a share of the largest: what costs nothing has no logarithm."""


@dataclass(frozen=True)
class CostModel:
    """Predicts costs, in the unit in which they were told."""

    space: Space
    paces: dict[int, float]
    """By trial, logarithms."""
    features: Array
    """(n, p), divided by the length scales."""
    lengths: Array
    """(p,)"""
    weights: Array
    """(n,) K^-1 y, times the variance of the process and the scale of paces."""
    mean: float

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
        lengths, (noise, variance) = np.split(np.exp(most_probable(F, y)), [-2])
        F = F / lengths
        K = variance * matern52(squared_distance(F, F)) + noise * np.eye(len(y))
        return cls(space, paces, F, lengths, scale * variance * cho_solve(cho_factor(K), y), mean)

    def log_pace(self, trials: Sequence[LearningCurve] | Array) -> Array:
        """(m,) logarithms of the cost of an epoch of m trials, or of m points (m, d) that no trial has."""
        points = trials if isinstance(trials, np.ndarray) else np.array([curve.point for curve in trials])
        features = self.space.features(points.reshape(-1, len(self.space.names))) / self.lengths
        predicted = self.mean + matern52(squared_distance(features, self.features)) @ self.weights
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


def most_probable(F: Array, y: Array) -> Array:
    """(p + 2,) theta that maximizes the posterior: the mean of its prior where nothing better is found."""
    p = F.shape[1]
    mean, std = np.array([PRIORS[0]] * p + list(PRIORS[1:])).T
    mean[:p] += 0.5 * math.log(max(p, 1))
    squares = (F[:, None] - F[None]) ** 2

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = log_likelihood(theta, squares, y)
        z = (theta - mean) / std
        return 0.5 * float(z @ z) - value, z / std - gradient

    bounds = list(zip(mean - 4 * std, mean + 4 * std))
    found = minimize(loss, mean, jac=True, method='L-BFGS-B', bounds=bounds, options={'maxiter': MAX_ITERATIONS})
    return np.asarray(found.x if np.isfinite(found.fun) else mean)


def log_likelihood(theta: Array, squares: Array, y: Array) -> tuple[float, Array]:
    """Log marginal likelihood of y, up to a constant, and its gradient; `squares` (n, n, p): of feature differences.

    Rasmussen & Williams 2006, Equations 2.30 and 5.9; -inf where the covariance cannot be factored.
    """
    noise, variance = np.exp(theta[-2:])
    scaled = squares * np.exp(-2 * theta[:-2])
    d2 = scaled.sum(axis=2)
    M = variance * matern52(d2)
    try:
        L = cho_factor(M + noise * np.eye(len(y)), lower=True)
    except LinAlgError:
        return -math.inf, np.zeros(len(theta))
    alpha, inverse = cho_solve(L, y), cho_solve(L, np.eye(len(y)))
    outer = 0.5 * (np.outer(alpha, alpha) - inverse)
    root = np.sqrt(5 * d2)
    slopes = np.einsum('ij,ijk->k', outer * variance * 5 / 3 * (1 + root) * np.exp(-root), scaled)
    value = -0.5 * float(y @ alpha) - float(np.log(np.diag(L[0])).sum())
    return value, np.array([*slopes, noise * np.trace(outer), (outer * M).sum()])
