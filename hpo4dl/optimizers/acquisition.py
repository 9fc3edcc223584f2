"""Expected improvement and its multi-fidelity incumbent (Wistuba et al. 2022, Equations 7 and 8). NumPy, no state.

    mu, sigma    (m,)  posterior mean and standard deviation of the latent value, larger is better
    f_best       (m,) or float  value of the incumbent to improve on
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

Array = NDArray[np.float64]


def expected_improvement(mu: Array, sigma: Array, f_best: Array | float) -> Array:
    """(m,) E[max(f - f_best, 0)] for f ~ N(mu, sigma^2): Equation 7. Where sigma is 0, max(mu - f_best, 0)."""
    gain = mu - f_best
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        z = np.where(sigma > 0, gain / sigma, 0.0)
    phi = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.where(sigma > 0, gain * ndtr(z) + sigma * phi, np.maximum(gain, 0.0))


def log_expected_improvement(mu: Array, sigma: Array, f_best: Array | float) -> Array:
    """(m,) log of Equation 7, accurate far below the incumbent too, where the value itself is 0 in floating point.

    With z = (mu - f_best) / sigma < 0, EI = sigma phi(z) (1 - |z| Phi(z) / phi(z)), and Phi(z) / phi(z) =
    sqrt(pi / 2) erfcx(|z| / sqrt 2); below z = -1e3 the bracket is 1 / z^2, its leading term. sigma must be > 0.
    """
    z = (mu - f_best) / sigma
    a = np.abs(np.minimum(z, -1.0))
    with np.errstate(divide='ignore', invalid='ignore'):
        bracket = 1.0 - a * np.sqrt(np.pi / 2) * erfcx(a / np.sqrt(2))
        tail = np.where(a < 1e3, np.log(np.maximum(bracket, 1e-300)), -2 * np.log(a)) - 0.5 * a * a
        body = np.log(np.maximum(z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), 1e-300))
    return np.asarray(np.log(sigma) + np.where(z < -1.0, tail - 0.5 * np.log(2 * np.pi), body))


def incumbent_at(epochs: NDArray[np.int64], best_by_epoch: Mapping[int, float]) -> Array:
    """(m,) Equation 8: the best value seen at each candidate's own fidelity, else the best one seen at all."""
    overall = max(best_by_epoch.values())
    return np.array([best_by_epoch.get(int(epoch), overall) for epoch in epochs])


