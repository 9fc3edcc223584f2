"""A Gaussian process: the exact marginal likelihood in torch, the posterior in NumPy and SciPy.

y         (n,)    targets
K         (n, n)  covariances of the targets, the noise on the diagonal
L         (n, n)  lower Cholesky factor, K = L L^T
whitened  (n,)    L^-1 (y - mean)
alpha     (n,)    K^-1 (y - mean) = L^-T whitened
Ks        (n, m)  covariances of the targets with m latent values
kss       (m,)    prior variances of these
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from torch import Tensor

from ..trial import Array


class _LogMarginalLikelihood(torch.autograd.Function):
    """With its gradient in closed form, in a fifth of the time of differentiation through the Cholesky factor."""

    @staticmethod
    def forward(ctx: Any, K: Tensor, y: Tensor) -> Tensor:
        L = torch.linalg.cholesky(K)
        inverse = torch.cholesky_inverse(L)
        alpha = inverse @ y
        ctx.save_for_backward(inverse, alpha)
        # Rasmussen & Williams 2006, Equation 2.30.
        value: Tensor = -0.5 * y @ alpha - L.diagonal().log().sum() - 0.5 * len(y) * math.log(2 * math.pi)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        inverse, alpha = ctx.saved_tensors
        # Equation 5.9, without the derivative of K that it is multiplied with.
        return upstream * 0.5 * (alpha[:, None] * alpha[None] - inverse), -upstream * alpha


def log_marginal_likelihood(K: Tensor, y: Tensor) -> Tensor:
    """log N(y; 0, K), differentiable once.

    Raises:
        torch.linalg.LinAlgError: K is not positive definite in floating point.
    """
    apply: Any = _LogMarginalLikelihood.apply  # typed or not, as the version of torch has it
    value: Tensor = apply(K, y)
    return value


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process given n targets (Rasmussen & Williams 2006, Algorithm 2.1). It never changes."""

    L: Array
    whitened: Array

    @classmethod
    def condition(cls, K: Array, y: Array) -> Posterior:
        """Condition on targets y; where K cannot be factored, with the least jitter on its diagonal that helps.

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
            return cls(L, solve_lower(L, y))
        raise LinAlgError('the covariance is not positive definite')

    def extend(self, Ks: Array, Kss: Array, y: Array) -> Posterior:
        """Condition on k further targets y, of covariances Ks (n, k) with the others and Kss (k, k) with each other.

        The factor of [[K, Ks], [Ks^T, Kss]] is [[L, 0], [B, C]], where B = (L^-1 Ks)^T and C C^T = Kss - B B^T.

        Raises:
            scipy.linalg.LinAlgError: the covariance of all is not finite, or not positive definite in floating point.
        """
        B = solve_lower(self.L, Ks).T
        schur = Kss - B @ B.T
        if not np.isfinite(schur).all():
            raise LinAlgError('the covariance is not finite')
        C = cholesky(schur, lower=True, check_finite=False)
        L = np.block([[self.L, np.zeros(Ks.shape)], [B, C]])
        whitened = solve_lower(C, y - B @ self.whitened)
        return Posterior(L, np.concatenate([self.whitened, whitened]))

    def first(self, n: int) -> Posterior:
        """Condition on the first n targets alone."""
        return Posterior(self.L[:n, :n], self.whitened[:n])

    def alpha(self) -> Array:
        """(n,) alpha."""
        return solve_lower(self.L, self.whitened, transposed=True)

    def variance(self, Ks: Array, kss: Array) -> Array:
        """(m,) posterior variances of latent values, at least 1e-12."""
        V = solve_lower(self.L, Ks)
        variance: Array = np.maximum(kss - np.einsum('nm,nm->m', V, V), 1e-12)  # Equation 2.26
        return variance

    def predict(self, Ks: Array, kss: Array) -> tuple[Array, Array]:
        """(m,) posterior means and (m,) variances of latent values."""
        return Ks.T @ self.alpha(), self.variance(Ks, kss)  # Equation 2.25


def solve_lower(L: Array, b: Array, transposed: bool = False) -> Array:
    """L^-1 b, or L^-T b, for a lower triangular L that may be empty, which old SciPy refuses."""
    if not len(L):
        return b
    return np.asarray(solve_triangular(L, b, trans=int(transposed), lower=True, check_finite=False))
