"""The covariance of learning curves, written once for torch, which fits it, and NumPy, which predicts with it.

    n           rows: observations, or values to predict    J, T  distinct trials and distinct epochs among them
    x           (d,) features of a configuration            x_scaled = x / l_x
    t           log(epoch) / log(max_epochs)                curve_code = psi(the curve so far, t), `CurveEncoder`
    d2          (n, m) squared distances, divided by the squared length scale

The covariance of two latent values is

    (s_m + s_x k_52(x_scaled, x_scaled')) k_t(t, t')    a common trend; similar configurations, similar curves
    + s_d k_rbf(curve_code, curve_code')                similar curves continue similarly
    + s_c [same trial] k_32(t / l_c, t' / l_c)          a curve predicts its own future

where k_t(t, t') = (r + k_32(t / l_t, t' / l_t)) / (1 + r): a part of the similarity lasts, however many epochs lie
between. The prior mean is a linear function of curve_code: what the encoder, which was learned beforehand, expects of
any curve that began so. The process learns how the curves of this race differ. An observation is its latent value plus
noise of variance min_noise + s_n + s_1 exp(-t / noise_decay): first epochs tell less than later ones, and nothing at
all where the first value is an untrained network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..trial import Array
from .policy import SurrogatePolicy

Index = NDArray[np.intp]
Matrix = TypeVar('Matrix', Tensor, NDArray[np.float64])


@dataclass(frozen=True)
class Inputs:
    """n rows: a configuration, an epoch, and the curve before it."""

    trial: NDArray[np.int64]
    """(n,) the trial's number."""
    x: Array
    """(n, d) features of the configuration."""
    t: Array
    """(n,) log(epoch) / log(max_epochs)."""
    curve: Array
    """(n, c) targets of the epochs before this one, from the first on, padded with zeros."""
    length: NDArray[np.int64]
    """(n,) how many of them there are."""
    max_epochs: int

    def take(self, index: NDArray[np.int64]) -> Inputs:
        """Select rows."""
        return Inputs(
            self.trial[index], self.x[index], self.t[index], self.curve[index], self.length[index], self.max_epochs
        )


@dataclass(frozen=True)
class KernelInputs(Generic[Matrix]):
    """`Inputs` after scaling and the curve encoder, each trial's configuration once, and each epoch."""

    trial: Tensor | NDArray[np.int64]
    """(n,) the trial's number."""
    trial_index: Tensor | NDArray[np.int64]
    """(n,) the trial's row of `x_scaled`."""
    epoch_index: Tensor | NDArray[np.int64]
    """(n,) the epoch's element of `t`."""
    x_scaled: Matrix
    """(J, d)"""
    t: Matrix
    """(T,)"""
    curve_code: Matrix
    """(n, n_hidden)"""
    mean: Matrix
    """(n,) prior means."""


@dataclass(frozen=True)
class Kernel(Generic[Matrix]):
    """The covariance above with its parameters: torch tensors, to be fitted, or NumPy numbers, to predict with."""

    policy: SurrogatePolicy
    l_t: Matrix
    l_c: Matrix
    s_m: Matrix
    s_x: Matrix
    s_d: Matrix
    s_c: Matrix
    r: Matrix
    s_n: Matrix
    s_1: Matrix

    def configurations(self, a: Matrix, b: Matrix) -> Matrix:
        """s_m + s_x k_52(x_scaled, x_scaled')"""
        return self.s_m + self.s_x * matern52(squared_distance(a, b))

    def epochs(self, a: Matrix, b: Matrix) -> Matrix:
        """k_t(t, t')"""
        return (self.r + matern32(((a[:, None] - b[None]) / self.l_t) ** 2)) / (1 + self.r)

    def curves(self, a: Matrix, b: Matrix) -> Matrix:
        """s_d k_rbf(curve_code, curve_code')"""
        return self.s_d * rbf(squared_distance(a, b))

    def same_trial(self, a: Matrix, b: Matrix) -> Matrix:
        """s_c k_32(t / l_c, t' / l_c)"""
        return self.s_c * matern32(((a[:, None] - b[None]) / self.l_c) ** 2)

    def noise(self, t: Matrix) -> Matrix:
        """(n,) variances of observations at t (n,) around their latent values."""
        return self.policy.min_noise + self.s_n + self.s_1 * exponential(-t / self.policy.noise_decay)

    def variance(self) -> Matrix:
        """Prior variance of a latent value."""
        return self.s_m + self.s_x + self.s_d + self.s_c

    def __call__(self, a: KernelInputs[Matrix], b: KernelInputs[Matrix]) -> Matrix:
        """(n, m) covariances of latent values."""
        k_config = at_pairs(self.configurations(a.x_scaled, b.x_scaled), a.trial_index, b.trial_index)
        k_config = k_config * at_pairs(self.epochs(a.t, b.t), a.epoch_index, b.epoch_index)
        k_trial = at_pairs(self.same_trial(a.t, b.t), a.epoch_index, b.epoch_index)
        same = a.trial[:, None] == b.trial[None]
        return k_config + self.curves(a.curve_code, b.curve_code) + same * k_trial

    def of_observations(self, inputs: KernelInputs[Matrix]) -> Matrix:
        """(n, n) covariances of observations: of latent values, and the noise."""
        return self(inputs, inputs) + diagonal(self.noise(inputs.t)[inputs.epoch_index])


def concatenate(a: KernelInputs[Array], b: KernelInputs[Array]) -> KernelInputs[Array]:
    """The rows of a, then those of b."""
    trial = np.concatenate([np.asarray(a.trial), np.asarray(b.trial)])
    x_scaled = np.concatenate([a.x_scaled[a.trial_index], b.x_scaled[b.trial_index]])
    t = np.concatenate([a.t[a.epoch_index], b.t[b.epoch_index]])
    first, trial_index, t, epoch_index = deduplicate(trial, t)
    code = np.concatenate([a.curve_code, b.curve_code])
    mean = np.concatenate([a.mean, b.mean])
    return KernelInputs(trial, trial_index, epoch_index, x_scaled[first], t, code, mean)


def deduplicate(trial: NDArray[np.int64], t: Array) -> tuple[Index, Index, Array, Index]:
    """Of n rows: the first of each trial (J,), each row's trial (n,), the epochs (T,), each row's epoch (n,)."""
    _, first, trial_index = np.unique(trial, return_index=True, return_inverse=True)
    epochs, epoch_index = np.unique(t, return_inverse=True)
    return first, trial_index, epochs, epoch_index


def squared_distance(a: Matrix, b: Matrix) -> Matrix:
    """(n, m) squared Euclidean distances between the rows of (n, p) and (m, p), never negative."""
    cross: Matrix = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return cross.clip(min=0.0)


def exponential(x: Matrix) -> Matrix:
    """e^x"""
    return _library(x).exp(x)  # type: ignore[no-any-return]


def diagonal(x: Matrix) -> Matrix:
    """(n, n) the matrix with x (n,) on its diagonal, and 0 elsewhere."""
    return _library(x).diag(x)  # type: ignore[no-any-return]


def at_pairs(K: Matrix, rows: Any, columns: Any) -> Matrix:
    """(n, m) the entries of K in these rows (n,) and columns (m,)."""
    if isinstance(K, Tensor) and K.device.type == 'cpu':
        # Its gradient takes a third of the time that indexing's takes; on a GPU it sums in an order that is not fixed.
        return K.index_select(0, rows).T.index_select(0, columns).T
    found: Matrix = K[rows][:, columns]
    return found


def rbf(d2: Matrix) -> Matrix:
    """exp(-d^2 / 2) (Rasmussen & Williams 2006, Equation 4.9)."""
    return exponential(-0.5 * d2)


def matern32(d2: Matrix) -> Matrix:
    """(1 + sqrt 3 d) exp(-sqrt 3 d) (Rasmussen & Williams 2006, Equation 4.17)."""
    d = _root(3 * d2)
    return (1 + d) * exponential(-d)


def matern52(d2: Matrix) -> Matrix:
    """(1 + sqrt 5 d + 5 d^2 / 3) exp(-sqrt 5 d) (Rasmussen & Williams 2006, Equation 4.17)."""
    d = _root(5 * d2)
    return (1 + d + d * d / 3) * exponential(-d)


def _library(array: Tensor | NDArray[np.float64]) -> Any:
    return torch if isinstance(array, Tensor) else np


def _root(d2: Matrix) -> Matrix:
    """A square root that has a gradient at 0 too."""
    return _library(d2).sqrt(d2 + 1e-12)  # type: ignore[no-any-return]
