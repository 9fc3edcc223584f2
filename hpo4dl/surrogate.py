"""The deep-kernel Gaussian process over (configuration, epoch, curve so far): normalise, fit, predict.

The kernel has three parts and noise, with variances s:

    s_x k_52(x, x') k_32(t, t')              configurations that are near have curves that are near
    s_c [same trial] k_12(t, t')             a curve predicts its own future
    s_d k_rbf(phi(x, t, c), phi(x', t', c')) the deep part, on the features of Wistuba et al. 2022, Section 4.1
    s_n [same observation]

x is the encoded configuration, t = log(epoch) / log(max_epochs), c the curve before that epoch, phi `Features`. All is
fitted together by Adam on the exact log marginal likelihood plus the log priors of the parameters (MAP), in torch and
float64; predictions are made in NumPy. Values are normalised by median and interquartile range, bad outliers cut.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from torch import Tensor

from .features import Features
from .gp import Posterior, log_marginal_likelihood
from .kernel import Matrix, matern12, matern32, matern52, rbf, squared_distance

Array = NDArray[np.float64]

WORST = -4.0
"""Normalised values below are cut to this; what failed counts as this."""
FIRST_STEPS, STEPS = 100, 15
"""Steps of Adam of the first fit, and of each later one, which goes on from there."""
MAX_FIT = 256
"""Rows that a fit looks at; predictions are conditioned on all."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """n places in the space of (configuration, epoch, curve so far)."""

    trial: NDArray[np.int64]
    """(n,) which trial; a place that belongs to none has a negative number of its own."""
    x: Array
    """(n, d) encoded configurations."""
    t: Array
    """(n,) log(epoch) / log(max_epochs)."""
    curve: Array
    """(n, c) normalised values before this epoch, padded behind."""
    length: NDArray[np.int64]
    """(n,) how many of them there are."""

    def join(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.trial, other.trial]),
            np.concatenate([self.x, other.x]),
            np.concatenate([self.t, other.t]),
            np.concatenate([self.curve, other.curve]),
            np.concatenate([self.length, other.length]),
        )

    def take(self, index: NDArray[np.int64]) -> Rows:
        return Rows(self.trial[index], self.x[index], self.t[index], self.curve[index], self.length[index])


@dataclass(frozen=True)
class Kernel(Generic[Matrix]):
    """The kernel above, with its parameters: in torch, to be fitted, or in NumPy, to predict with."""

    length_x: Matrix
    """(d,)"""
    length_t: Matrix
    length_c: Matrix
    s_x: Matrix
    s_c: Matrix
    s_d: Matrix

    def __call__(self, a: Places[Matrix], b: Places[Matrix]) -> Matrix:
        """(n, m) covariance of latent values."""
        d2_x = squared_distance(a.x / self.length_x, b.x / self.length_x)
        d2_t = (a.t[:, None] - b.t[None]) ** 2
        same = a.trial[:, None] == b.trial[None]
        near = self.s_x * matern52(d2_x) * matern32(d2_t / self.length_t**2)
        own = self.s_c * same * matern12(d2_t / self.length_c**2)
        deep = self.s_d * rbf(squared_distance(a.phi, b.phi))
        return near + own + deep


@dataclass(frozen=True)
class Places(Generic[Matrix]):
    """What the kernel sees of `Rows`."""

    trial: Tensor | NDArray[np.int64]
    x: Matrix
    t: Matrix
    phi: Matrix
    """(n, 8) their features."""


@dataclass(frozen=True)
class Normaliser:
    """z = max((y - centre) / scale, WORST)."""

    centre: float
    scale: float

    @classmethod
    def of(cls, y: Array) -> Normaliser:
        """By median and interquartile range; by the standard deviation, or 1, where most values are equal."""
        low, centre, high = np.percentile(y, [25, 50, 75])
        scale = (high - low) / 1.349
        if not scale > 0:
            scale = np.abs(y - centre).max()
        return cls(float(centre), float(scale) if 0 < scale < math.inf else 1.0)

    def __call__(self, y: Array) -> Array:
        return np.maximum((y - self.centre) / self.scale, WORST)


class Surrogate:
    """The model and its parameters, which each fit starts from where the last one ended.

    Args:
        n_features: columns of the encoded configurations, d.
        max_epochs: length that curves are padded to, c.
        seed: of the network's first weights.
        device: where fits are computed; default the CPU.
    """

    def __init__(self, n_features: int, max_epochs: int, seed: int, device: str | None = None) -> None:
        self.n_features = n_features
        self.max_epochs = max_epochs
        self.seed = seed
        self.device = torch.device(device or 'cpu')
        self._fitted = False
        self._reset()
        self._posterior, self._rows, self._z = self._prior()

    def fit(self, rows: Rows, z: Array) -> None:
        """Improve the parameters on normalised values z (n,), and condition on these alone.

        Never raises: after a failure the parameters are the medians of their priors.
        """
        index = np.unique(np.linspace(0, len(z) - 1, min(len(z), MAX_FIT)).round().astype(np.int64))
        all_rows, all_z = rows, z
        rows, z = rows.take(index), z[index]
        steps = STEPS if self._fitted else FIRST_STEPS
        try:
            for _ in range(steps):
                self._adam.zero_grad()
                loss = -self._log_posterior(rows, self._tensor(z))
                if not torch.isfinite(loss):
                    raise ArithmeticError('the marginal likelihood is not finite')
                loss.backward()  # type: ignore[no-untyped-call]
                self._adam.step()
            if not all(torch.isfinite(p).all() for p in self._parameters):
                raise ArithmeticError('a parameter is not finite')
            self._fitted = True
        except (RuntimeError, ArithmeticError) as error:  # torch's LinAlgError is a RuntimeError
            self._reset(error)
        self._condition(all_rows, all_z)

    def append(self, rows: Rows, z: Array) -> None:
        """Condition on more observations, without fitting: rows are added to the Cholesky factor. Never raises."""
        together, values = self._rows.join(rows), np.concatenate([self._z, z])
        try:
            self._posterior = self._extended(rows, z)
            self._rows, self._z = together, values
        except LinAlgError:
            self._condition(together, values)

    def predict(self, at: Rows, running: Rows | None = None) -> tuple[Array, Array]:
        """(m,) mean and (m,) standard deviation of the latent values at `at`.

        `running` are places whose values are to come; each counts as if it were as predicted (Kriging believer), which
        leaves all means as they are. Never raises; what cannot be computed is N(0, 1).
        """
        posterior, rows = self._posterior, self._rows
        if running is not None and len(running.t):
            try:
                posterior, rows = self._extended(running, self.predict(running)[0]), rows.join(running)
            except LinAlgError as error:
                logger.info('what is running is left out of account: %s', error)
        mu, variance = posterior.predict(self._covariance(rows, at), self._prior_variance(len(at.t)))
        if not (np.isfinite(mu).all() and np.isfinite(variance).all()):
            return np.zeros(len(at.t)), np.ones(len(at.t))
        return mu, np.sqrt(variance)

    def _condition(self, rows: Rows, z: Array) -> None:
        for _ in range(2):
            try:
                K = self._covariance(rows, rows)
                K[np.diag_indices_from(K)] += self._noise().item()
                self._posterior = Posterior.condition(K, z, self.mean.item())
                self._rows, self._z = rows, z
                return
            except LinAlgError as error:
                self._reset(error)
        self._posterior, self._rows, self._z = self._prior()

    def _prior(self) -> tuple[Posterior, Rows, Array]:
        """Conditioned on nothing."""
        nothing = np.empty(0)
        no = np.empty(0, dtype=np.int64)
        rows = Rows(no, np.empty((0, self.n_features)), nothing, np.empty((0, self.max_epochs)), no)
        return Posterior(np.empty((0, 0)), nothing, self.mean.item()), rows, nothing

    def _extended(self, rows: Rows, z: Array) -> Posterior:
        Kss = self._covariance(rows, rows) + self._noise().item() * np.eye(len(z))
        return self._posterior.extend(self._covariance(self._rows, rows), Kss, z)

    def _covariance(self, a: Rows, b: Rows) -> Array:
        with torch.no_grad():
            p = self._kernel()
            numpy = [t.cpu().numpy() for t in (p.length_x, p.length_t, p.length_c, p.s_x, p.s_c, p.s_d)]
            kernel: Kernel[Array] = Kernel(*numpy)
            return kernel(self._places(a), self._places(b))

    def _places(self, rows: Rows) -> Places[Array]:
        return Places(rows.trial, rows.x, rows.t, self._phi(rows).cpu().numpy())

    def _reset(self, error: Exception | None = None) -> None:
        if error is not None:
            logger.info('the surrogate starts again from its prior: %s', error)
        d = self.n_features
        # Medians of the priors below: parameters are logarithms, but for the mean.
        self.log_length_x = self._parameter([math.sqrt(2) + 0.5 * math.log(max(d, 1))] * d)
        self.log_length_t = self._parameter(0.0)
        self.log_length_c = self._parameter(0.0)
        self.log_s_x = self._parameter(0.0)
        self.log_s_c = self._parameter(math.log(0.1))
        self.log_s_d = self._parameter(math.log(0.1))
        self.log_s_n = self._parameter(math.log(1e-3))
        self.mean = self._parameter(0.0)
        self.features = Features(d, 8, torch.Generator().manual_seed(self.seed % 2**63)).to(self.device)
        self._of_kernel = [self.log_length_x, self.log_length_t, self.log_length_c, self.mean]
        self._of_kernel += [self.log_s_x, self.log_s_c, self.log_s_d, self.log_s_n]
        network = list(self.features.parameters())
        self._parameters = [*self._of_kernel, *network]
        self._adam = torch.optim.Adam([{'params': self._of_kernel, 'lr': 0.05}, {'params': network, 'lr': 5e-3}])
        self._fitted = False

    def _parameter(self, value: float | list[float]) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device, requires_grad=True)

    def _tensor(self, array: Array | NDArray[np.int64]) -> Tensor:
        return torch.as_tensor(array, device=self.device)

    def _noise(self) -> Tensor:
        return self.log_s_n.exp() + 1e-4

    def _prior_variance(self, m: int) -> Array:
        return np.full(m, (self.log_s_x.exp() + self.log_s_c.exp() + self.log_s_d.exp()).item())

    def _phi(self, rows: Rows) -> Tensor:
        phi: Tensor = self.features(
            self._tensor(rows.x), self._tensor(rows.t)[:, None], self._tensor(rows.curve), self._tensor(rows.length)
        )
        return phi

    def _kernel(self) -> Kernel[Tensor]:
        logs = (self.log_length_x, self.log_length_t, self.log_length_c, self.log_s_x, self.log_s_c, self.log_s_d)
        return Kernel(*[log.exp() for log in logs])

    def _log_posterior(self, rows: Rows, z: Tensor) -> Tensor:
        """Log marginal likelihood plus log priors, up to a constant."""
        n = len(z)
        at = Places(self._tensor(rows.trial), self._tensor(rows.x), self._tensor(rows.t), self._phi(rows))
        K = self._kernel()(at, at) + self._noise() * torch.eye(n, dtype=torch.float64, device=self.device)
        d = max(self.n_features, 1)
        prior = (
            log_normal(self.log_length_x, math.sqrt(2) + 0.5 * math.log(d), math.sqrt(3)).sum()
            + log_normal(self.log_length_t, 0.0, 0.75)
            + log_normal(self.log_length_c, 0.0, 0.75)
            + log_normal(self.log_s_x, 0.0, 0.5)
            + log_normal(self.log_s_c, math.log(0.1), 1.0)
            + log_normal(self.log_s_d, math.log(0.1), 1.0)
            + log_normal(self.log_s_n, math.log(1e-3), 1.0)
            + log_normal(self.mean, 0.0, 1.0)
        )
        weights = sum(log_normal(w, 0.0, 1.0).sum() for w in self.features.parameters())
        return log_marginal_likelihood(K, z - self.mean) + prior + weights


def log_normal(value: Tensor, mean: float, deviation: float) -> Tensor:
    """Log density of a normal distribution, up to a constant."""
    return -0.5 * ((value - mean) / deviation) ** 2
