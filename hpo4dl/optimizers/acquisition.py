"""Expected improvement (EI) of candidates, and its multi-fidelity incumbent (Wistuba et al. 2022, Equations 7 and 8).

mu, sigma   (m,)           posterior means and standard deviations of latent values, larger is better
f_best      (m,) or float  what is to be improved on
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from ..surrogate.prediction import Prediction
from ..trial import Array, LearningCurve


@dataclass(frozen=True)
class Candidates:
    """The m candidates of one decision, k paused trials and then new points, with their predictions."""

    paused: list[LearningCurve]
    points: Array
    """(m - k, d)"""
    target_epoch: NDArray[np.int64]
    """(m,) the epoch that each is predicted at."""
    threshold: Array
    """(m,) or (1,) the target to improve on."""
    prediction: Prediction
    """(m,) targets."""
    noise: Array
    """(m,) variances of the noise that a value has around what is predicted."""
    log_price: Array | float = 0.0
    """(m,) what log EI is lowered by, for what a step costs."""

    def log_ei(self, index: NDArray[np.int64] | slice = slice(None)) -> Array:
        """(m,) log expected improvement, less its price, or that of some; an upper bound where `std` is one."""
        threshold = np.broadcast_to(self.threshold, self.target_epoch.shape)
        std = np.sqrt(self.prediction.std[index] ** 2 + self.noise[index])
        log_ei = log_expected_improvement(self.prediction.mean[index], std, threshold[index])
        price = np.broadcast_to(self.log_price, self.target_epoch.shape)[index]
        return np.asarray(np.where(np.isnan(log_ei), -math.inf, log_ei) - price)

    def by_ei(self, min_log_ei: float = -math.inf) -> Iterator[int]:
        """Candidates whose log EI exceeds `min_log_ei`, the largest first.

        Standard deviations become exact only of those that may be next: the leaders by upper bound, in growing batches.
        """
        log_ei = self.log_ei()
        batch = 30
        while True:
            best = int(log_ei.argmax())
            if log_ei[best] <= min_log_ei:
                return
            if self.prediction.is_exact[best]:
                log_ei[best] = -math.inf
                yield best
            else:
                leaders = np.argsort(-log_ei, kind='stable')[:batch]
                leaders = leaders[~self.prediction.is_exact[leaders]]
                self.prediction.refine(leaders)
                log_ei[leaders] = self.log_ei(leaders)
                batch *= 2


def log_expected_improvement(mu: Array, sigma: Array, f_best: Array | float) -> Array:
    """(m,) log EI, EI = E[max(f - f_best, 0)] for f ~ N(mu, sigma^2), sigma > 0: the logarithm of Equation 7.

    EI = sigma (z Phi(z) + phi(z)), z = (mu - f_best) / sigma. Where that is 0 in floating point, for z < 0, it is
    sigma phi(z) (1 - |z| Phi(z) / phi(z)), and Phi(z) / phi(z) = sqrt(pi / 2) erfcx(|z| / sqrt 2); below z = -1e3 the
    bracket is 1 / z^2, its leading term.
    """
    z = (mu - f_best) / sigma
    a = np.abs(np.minimum(z, -1.0))
    with np.errstate(divide='ignore', invalid='ignore'):
        bracket = 1.0 - a * np.sqrt(np.pi / 2) * erfcx(a / np.sqrt(2))
        tail = np.where(a < 1e3, np.log(np.maximum(bracket, 1e-300)), -2 * np.log(a)) - 0.5 * a * a
        body = np.log(np.maximum(z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), 1e-300))
    return np.asarray(np.log(sigma) + np.where(z < -1.0, tail - 0.5 * np.log(2 * np.pi), body))


def incumbent_at(epochs: NDArray[np.int64], curves: Iterable[LearningCurve]) -> Array:
    """(m,) best values of the curves at these epochs (m,), or the best of all where an epoch has none: Equation 8."""
    best: dict[int, float] = {}
    for curve in curves:
        for epoch, value in zip(curve.epochs, curve.values):
            best[epoch] = max(value, best.get(epoch, value))
    overall = max(best.values())
    return np.array([best.get(int(epoch), overall) for epoch in epochs])
