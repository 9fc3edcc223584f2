"""A Gaussian process: the exact marginal likelihood in torch, the posterior in NumPy and SciPy.

    X      (n, p)  inputs
    y      (n,)    targets
    K      (n, n)  covariance of the targets, the noise on its diagonal
    L      (n, n)  its lower Cholesky factor, K = L L^T
    alpha  (n,)    K^-1 (y - mean)
    Ks     (n, m)  covariance of the targets with the latent values at m new inputs
    kss    (m,)    prior variance of these
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from torch import Tensor

Array = NDArray[np.float64]


class _LogMarginalLikelihood(torch.autograd.Function):
    """With its gradient in closed form (Rasmussen & Williams 2006, Equation 5.9): a fifth of the time that it takes
    to differentiate through the Cholesky factor."""

    @staticmethod
    def forward(ctx: Any, K: Tensor, y: Tensor) -> Tensor:
        L = torch.linalg.cholesky(K)
        inverse = torch.cholesky_inverse(L)
        alpha = inverse @ y
        ctx.save_for_backward(inverse, alpha)
        value: Tensor = -0.5 * y @ alpha - L.diagonal().log().sum() - 0.5 * len(y) * math.log(2 * math.pi)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        inverse, alpha = ctx.saved_tensors
        return upstream * 0.5 * (alpha[:, None] * alpha[None] - inverse), -upstream * alpha


def log_marginal_likelihood(K: Tensor, y: Tensor) -> Tensor:
    """log N(y; 0, K) (Rasmussen & Williams 2006, Equation 2.30), differentiable once.

    Raises:
        torch.linalg.LinAlgError: K is not positive definite in floating point.
    """
    apply: Any = _LogMarginalLikelihood.apply  # typed or not, as the version of torch has it
    value: Tensor = apply(K, y)
    return value


@dataclass(frozen=True)
class Posterior:
    """What the targets tell of latent values elsewhere (Rasmussen & Williams 2006, Algorithm 2.1)."""

    L: Array
    whitened: Array
    """(n,) L^-1 (y - mean)."""
    mean: float

    @classmethod
    def condition(cls, K: Array, y: Array, mean: float) -> Posterior:
        """Condition on targets; where K cannot be factored, the least jitter that helps is added to its diagonal.

        Raises:
            scipy.linalg.LinAlgError: K is not finite, or no jitter helps.
        """
        if not np.isfinite(K).all():
            raise LinAlgError('the covariance is not finite')
        scale = float(np.mean(np.diag(K)))
        for jitter in (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2):
            try:
                L = cholesky(K + jitter * scale * np.eye(len(K)), lower=True, check_finite=False)
            except LinAlgError:
                continue
            return cls(L, solve_lower(L, y - mean), mean)
        raise LinAlgError('the covariance is not positive definite')

    def extend(self, Ks: Array, Kss: Array, y: Array) -> Posterior:
        """Condition on k more targets too: Ks (n, k) and Kss (k, k) are their covariances; rows are added to L.

        Raises:
            scipy.linalg.LinAlgError: the covariance of all is not finite, or not positive definite in floating point.
        """
        below = solve_lower(self.L, Ks).T
        rest = Kss - below @ below.T
        if not np.isfinite(rest).all():
            raise LinAlgError('the covariance is not finite')
        corner = cholesky(rest, lower=True, check_finite=False)
        L = np.block([[self.L, np.zeros(Ks.shape)], [below, corner]])
        whitened = solve_lower(corner, y - self.mean - below @ self.whitened)
        return Posterior(L, np.concatenate([self.whitened, whitened]), self.mean)

    def first(self, n: int) -> Posterior:
        """Conditioned on the first n targets alone."""
        return Posterior(self.L[:n, :n], self.whitened[:n], self.mean)

    def alpha(self) -> Array:
        """(n,) alpha: the mean elsewhere is mean + Ks^T alpha."""
        return solve_lower(self.L, self.whitened, transposed=True)

    def variance(self, Ks: Array, kss: Array) -> Array:
        """(m,) variances of the latent values."""
        V = solve_lower(self.L, Ks)
        left: Array = np.maximum(kss - np.einsum('nm,nm->m', V, V), 1e-12)
        return left

    def predict(self, Ks: Array, kss: Array) -> tuple[Array, Array]:
        """(m,) means and (m,) variances of the latent values."""
        return self.mean + Ks.T @ self.alpha(), self.variance(Ks, kss)


def solve_lower(L: Array, right: Array, transposed: bool = False) -> Array:
    """L^-1 right, or L^-T right, for a lower triangular L that may be empty, which old SciPy refuses."""
    if not len(L):
        return right
    return np.asarray(solve_triangular(L, right, trans=int(transposed), lower=True, check_finite=False))
