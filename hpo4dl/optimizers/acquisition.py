"""Expected improvement and its multi-fidelity incumbent (Wistuba et al. 2022, Equations 7 and 8).

mu, sigma   (m,)           posterior means and standard deviations of latent values, larger is better
f_best      (m,) or float  what is to be improved on
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from ..trial import Array, LearningCurve


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
