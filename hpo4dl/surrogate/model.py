"""The deep-kernel Gaussian process over (configuration, epoch, curve so far): fit, condition, predict.

    n     rows: observations that it is conditioned on
    J     trials that the rows belong to
    x     (d,) encoded configuration                h = x / l_x
    t     log(epoch) / log(max_epochs)
    c     the trial's normalised values before that epoch, or the first ones     e = psi(c), psi a convolution and MLP

The covariance of two latent values is

    (s_m + s_x k_52(h, h')) k_t(t, t')                  curves have a common trend; near configurations, near curves
    + s_d k_rbf(e, e')                                  curves that were alike go on alike
    + s_c [same trial] k_32(t / l_c, t' / l_c)          a curve predicts its own future

where k_t(t, t') = (r + k_32(t / l_t, t' / l_t)) / (1 + r): part of what is near stays so, however many epochs lie
between. Each observation has noise s_n + s_1 exp(-t / EARLY) on top: first epochs tell less than later ones, and
nothing at all where the first value is an untrained network's.

All parameters, those of psi included, are fitted together by Adam on the exact log marginal likelihood plus their log
priors (MAP), in torch and float64; predictions are made in NumPy. The deep kernel is that of Wistuba et al. 2022,
Section 4.1, but that the configuration does not go through the network, which learned by heart what little is known of
configurations (examples/benchmarks/README.md); a new configuration, which has no curve, so meets the rows of a trial
with one kernel value.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from torch import Tensor

from .adam import Adam
from .curve_encoder import CurveEncoder
from .gp import Posterior, log_marginal_likelihood
from .kernels import Matrix, at_pairs, diagonal, exponential, matern32, matern52, rbf, squared_distance

Array = NDArray[np.float64]

FIRST_STEPS, STEPS = 100, 15
"""Steps of Adam of the first fit, and of each later one, which goes on from there."""
MAX_FIT = 256
"""Rows that a fit looks at; predictions are conditioned on all."""
LEAST_NOISE = 1e-4
EARLY = 0.1
"""The t in which the noise of first epochs falls to 1 / e."""
CODES = 4
"""Outputs of psi."""
FREEDOM = 3.0
"""Degrees of freedom of the Student's t that observations come with (`Surrogate.surprise`)."""
WEIGHTS = 0.2
"""Standard deviation a priori of psi's weights, around those that it begins with. Around 0, layer would shrink with
layer until nothing of the curve comes through: the mode of a product's factors is at 0."""
PRIORS = {
    'l_x': (math.sqrt(2), math.sqrt(3)),
    'l_t': (-0.7, 0.75),
    'l_c': (0.0, 0.75),
    's_m': (-1.2, 1.0),
    's_x': (0.0, 0.5),
    's_d': (math.log(0.1), 1.0),
    's_c': (-4.0, 1.5),
    'r': (0.0, 1.0),
    's_n': (-7.5, 1.5),
    's_1': (-3.0, 1.5),
    'mean': (0.0, 1.0),
}
"""Mean and standard deviation of the logarithm of each parameter, and of the mean. log(d) / 2 is added to the mean of
l_x (Hvarfner et al. 2024), which has d values."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """n places in the space of (configuration, epoch, curve so far)."""

    trial: NDArray[np.int64]
    """(n,) which trial."""
    x: Array
    """(n, d) encoded configurations."""
    t: Array
    """(n,) log(epoch) / log(max_epochs)."""
    curve: Array
    """(n, c) normalised values before this epoch, from the first on, padded behind."""
    length: NDArray[np.int64]
    """(n,) how many of them there are."""

    def take(self, index: NDArray[np.int64]) -> Rows:
        """The rows of these indices."""
        return Rows(self.trial[index], self.x[index], self.t[index], self.curve[index], self.length[index])


@dataclass(frozen=True)
class Places(Generic[Matrix]):
    """What the kernel sees of `Rows`."""

    trial: Tensor | NDArray[np.int64]
    """(n,)"""
    member: Tensor | NDArray[np.int64]
    """(n,) the trial's row in h."""
    epoch: Tensor | NDArray[np.int64]
    """(n,) the index in t."""
    h: Matrix
    """(J, d)"""
    t: Matrix
    """(T,) distinct ones: epochs are few."""
    e: Matrix
    """(n, CODES)"""


@dataclass(frozen=True)
class Kernel(Generic[Matrix]):
    """The kernel above with its parameters: in torch, to be fitted, or in NumPy, to predict with."""

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
        """s_m + s_x k_52(h, h')"""
        return self.s_m + self.s_x * matern52(squared_distance(a, b))

    def epochs(self, a: Matrix, b: Matrix) -> Matrix:
        """k_t(t, t')"""
        return (self.r + matern32(((a[:, None] - b[None]) / self.l_t) ** 2)) / (1 + self.r)

    def curves(self, a: Matrix, b: Matrix) -> Matrix:
        """s_d k_rbf(e, e')"""
        return self.s_d * rbf(squared_distance(a, b))

    def own(self, a: Matrix, b: Matrix) -> Matrix:
        """s_c k_32(t / l_c, t' / l_c), of the same trial."""
        return self.s_c * matern32(((a[:, None] - b[None]) / self.l_c) ** 2)

    def noise(self, t: Matrix) -> Matrix:
        """(n,) variances of observations at t (n,) around their latent values."""
        return LEAST_NOISE + self.s_n + self.s_1 * exponential(-t / EARLY)

    def variance(self) -> Matrix:
        """Of any one latent value."""
        return self.s_m + self.s_x + self.s_d + self.s_c

    def __call__(self, a: Places[Matrix], b: Places[Matrix]) -> Matrix:
        """(n, m) covariance of latent values."""
        near = at_pairs(self.configurations(a.h, b.h), a.member, b.member)
        near = near * at_pairs(self.epochs(a.t, b.t), a.epoch, b.epoch)
        same = a.trial[:, None] == b.trial[None]
        return near + self.curves(a.e, b.e) + same * at_pairs(self.own(a.t, b.t), a.epoch, b.epoch)

    def of_observations(self, at: Places[Matrix]) -> Matrix:
        """(n, n) covariance of observations: of latent values, and the noise."""
        return self(at, at) + diagonal(self.noise(at.t)[at.epoch])


@dataclass(frozen=True)
class Conditioned:
    """The fitted process, conditioned on rows. It never changes: `extend` makes another one."""

    kernel: Kernel[Array]
    at: Places[Array]
    z: Array
    """(n,) targets."""
    posterior: Posterior

    @classmethod
    def on(cls, kernel: Kernel[Array], mean: float, at: Places[Array], z: Array) -> Conditioned:
        """Raises scipy.linalg.LinAlgError where the covariance cannot be factored."""
        return cls(kernel, at, z, Posterior.condition(kernel.of_observations(at), z, mean))

    def extend(self, at: Places[Array], z: Array) -> Conditioned:
        """Condition on more targets z (k,) too; where rows cannot be added to the factor, it is made anew.

        Raises:
            scipy.linalg.LinAlgError: that does not help either.
        """
        together, targets = join(self.at, at), np.concatenate([self.z, z])
        try:
            posterior = self.posterior.extend(self.kernel(self.at, at), self.kernel.of_observations(at), z)
        except LinAlgError:
            return Conditioned.on(self.kernel, self.posterior.mean, together, targets)
        return Conditioned(self.kernel, together, targets, posterior)

    def predict(self, at: Places[Array]) -> tuple[Array, Array]:
        """(m,) means and (m,) variances of latent values."""
        return self.posterior.predict(self.kernel(self.at, at), np.full(len(at.epoch), self.kernel.variance()))


class Prediction:
    """Means of m candidates' latent values, and their deviations: upper bounds at first, which a decision makes exact
    where it needs them, since that is what takes the time.

    Args:
        mean: (m,)
        bound: (m,) upper bounds of the deviations.
        exact: the deviations of candidates, given as ascending indices.
    """

    def __init__(self, mean: Array, bound: Array, exact: Callable[[NDArray[np.int64]], Array]) -> None:
        self.mean = mean
        self.deviation = bound
        self.is_exact = np.zeros(len(mean), dtype=bool)
        self._exact = exact

    def refine(self, index: NDArray[np.int64]) -> None:
        """Make the deviations of these candidates exact."""
        index = np.sort(index[~self.is_exact[index]])
        self.deviation[index] = self._exact(index)
        self.is_exact[index] = True


class Candidates:
    """k rows, and m new configurations that no trial has: looked at once, to be predicted at several fidelities."""

    def __init__(self, conditioned: Conditioned, at: Places[Array], h: Array) -> None:
        kernel, known = conditioned.kernel, conditioned.at
        self._conditioned = conditioned
        self._alpha = conditioned.posterior.alpha()
        self._near = kernel.configurations(at.h, known.h)[at.member][:, known.member]
        self._curves = kernel.curves(at.e, known.e)
        self._own = np.nonzero(np.asarray(at.trial)[:, None] == known.trial)
        self._near_new = kernel.configurations(h, known.h)
        self._curves_new = kernel.curves(np.zeros((1, CODES)), known.e)

    def predict(self, t: Array, t_new: float) -> Prediction:
        """Latent values of the rows at fidelities t (k,), then those of the new configurations at t_new."""
        known, posterior, kernel = self._conditioned.at, self._conditioned.posterior, self._conditioned.kernel
        of_rows = self._covariance(t)
        of_epoch = kernel.epochs(np.array([t_new]), known.t)[:, known.epoch]
        # The covariance of new ones with a row is near_new * of_epoch + curves_new, in the column of the row's trial.
        by_trial = np.bincount(known.member, of_epoch[0] * self._alpha, len(known.h))
        of_new = self._near_new @ by_trial + self._curves_new @ self._alpha
        mean = posterior.mean + np.concatenate([of_rows @ self._alpha, of_new])

        def deviation(index: NDArray[np.int64], n: int) -> Array:
            new = index[index >= len(t)] - len(t)
            near = self._near_new[new][:, known.member[:n]] * of_epoch[:, :n]
            Ks = np.concatenate([of_rows[index[index < len(t)], :n], near + self._curves_new[:, :n]])
            return np.sqrt(posterior.leading(n).variance(Ks.T, np.full(len(index), kernel.variance())))

        n = len(known.epoch)
        bound = deviation(np.arange(len(mean)), n // 4)  # the first rows are those of the best trials
        return Prediction(mean, bound, lambda index: deviation(index, n))

    def _covariance(self, t: Array) -> Array:
        """(k, n) of the latent values at fidelities t with the observations."""
        known, kernel = self._conditioned.at, self._conditioned.kernel
        distinct, epoch = np.unique(t, return_inverse=True)
        K: Array = self._near * at_pairs(kernel.epochs(distinct, known.t), epoch, known.epoch) + self._curves
        i, j = self._own
        K[i, j] += kernel.own(distinct, known.t)[epoch[i], known.epoch[j]]
        return K


class Surrogate:
    """The model and its parameters, which each fit starts from where the last one ended.

    Args:
        n_features: columns of the encoded configurations, d.
        seed: of the encoder's first weights.
        device: where fits are computed; default the CPU.
    """

    def __init__(self, n_features: int, seed: int, device: str | None = None) -> None:
        self.n_features = n_features
        self.seed = seed
        self.device = torch.device(device or 'cpu')
        self._fitted = False
        self._reset()
        self._conditioned = self._prior()

    def fit(self, rows: Rows, z: Array) -> None:
        """Improve the parameters on targets z (n,), and condition on these alone.

        Never raises: after a failure the parameters are the medians of their priors.
        """
        index = np.unique(np.linspace(0, len(z) - 1, min(len(z), MAX_FIT)).round().astype(np.int64))
        fixed, target = self._tensors(rows.take(index)), self._tensor(z[index])
        try:
            for _ in range(STEPS if self._fitted else FIRST_STEPS):
                loss = -self._log_posterior(self._places(*fixed), target)
                if not torch.isfinite(loss):
                    raise ArithmeticError('the marginal likelihood is not finite')
                self._adam.step(loss)
            if not torch.isfinite(self._parameters()).all():
                raise ArithmeticError('a parameter is not finite')
            self._fitted = True
        except (RuntimeError, ArithmeticError) as error:  # torch's LinAlgError is a RuntimeError
            self._reset(error)
        kernel, mean = self._numpy()
        try:
            self._conditioned = Conditioned.on(kernel, mean, self._look(rows), z)
        except LinAlgError as error:
            self._reset(error)
            self._conditioned = self._prior()

    def append(self, rows: Rows, z: Array) -> None:
        """Condition on more observations, without fitting. Never raises."""
        try:
            self._conditioned = self._conditioned.extend(self._look(rows), z)
        except LinAlgError as error:
            logger.info('observations are left out until the next fit: %s', error)

    def candidates(self, at: Rows, x: Array, running: Rows | None = None) -> Candidates:
        """Look at k rows, and m new configurations, to predict them.

        Args:
            at: the k rows; their curves end where what is known ends.
            x: (m, d) encoded configurations that no trial has.
            running: rows whose values are to come; each counts as if it were as predicted (Kriging believer), which
                leaves all means as they are.
        """
        conditioned = self._conditioned
        if running is not None and len(running.t):
            places = self._look(running)
            try:
                conditioned = conditioned.extend(places, conditioned.predict(places)[0])
            except LinAlgError as error:
                logger.info('what is running is left out of account: %s', error)
        with torch.no_grad():
            h: Array = self._h(self._tensor(x)).cpu().numpy()
        return Candidates(conditioned, self._look(at), h)

    def predict(self, at: Rows) -> tuple[Array, Array]:
        """(n,) means and (n,) standard deviations of the latent values of rows."""
        mean, variance = self._conditioned.predict(self._look(at))
        return mean, np.sqrt(variance)

    def noise(self, at: Rows) -> Array:
        """(n,) variances of observations around the latent values of rows."""
        return self._conditioned.kernel.noise(at.t)

    def surprise(self, trial: int) -> float:
        """How much larger than predicted a trial's errors were so far: a factor of variances, 1 of one without a curve.

        With b the sum of the squares of its m errors one step ahead, divided by their variances, it is (f - 2 + b) /
        (f - 2 + m), the factor that a Student's t process with f degrees of freedom has (Shah et al. 2014, Lemma 3),
        taken of each trial alone: some curves are smooth, and some are not.
        """
        ahead = np.nonzero(np.asarray(self._conditioned.at.trial) == trial)[0][1:]
        error = self._conditioned.posterior.white[ahead]
        return float((FREEDOM - 2 + error @ error) / (FREEDOM - 2 + len(error)))

    def trials(self) -> set[int]:
        """The trials that it is conditioned on."""
        return set(np.asarray(self._conditioned.at.trial).tolist())

    def _prior(self) -> Conditioned:
        none = np.zeros(0, dtype=np.int64)
        rows = Rows(none, np.zeros((0, self.n_features)), np.zeros(0), np.zeros((0, 0)), none)
        kernel, mean = self._numpy()
        return Conditioned(kernel, self._look(rows), np.zeros(0), Posterior(np.zeros((0, 0)), np.zeros(0), mean))

    def _reset(self, error: Exception | None = None) -> None:
        if error is not None:
            logger.info('the surrogate starts again from its prior: %s', error)
        d = self.n_features
        median, deviation = PRIORS['l_x']
        priors = [(median + 0.5 * math.log(max(d, 1)), deviation)] * d
        priors += [PRIORS[field.name] for field in fields(Kernel)] + [PRIORS['mean']]
        median_of_theta, deviation_of_theta = self._tensor(np.array(priors).T)
        # d logarithms of length scales, those of the kernel's other parameters, and the mean.
        self._theta = median_of_theta.clone().requires_grad_()
        self._psi = CurveEncoder(CODES, torch.Generator().manual_seed(self.seed % 2**63)).to(self.device)
        self._adam = Adam([(self._theta, 0.05), *((weight, 5e-3) for weight in self._psi.parameters())])
        self._median = self._parameters().detach()
        deviation_of_psi = torch.full_like(self._median[len(priors) :], WEIGHTS)
        self._deviation = torch.cat([deviation_of_theta, deviation_of_psi])
        self._fitted = False

    def _parameters(self) -> Tensor:
        """All of them, one after the other."""
        return torch.cat([self._theta, *(weight.flatten() for weight in self._psi.parameters())])

    def _log_posterior(self, at: Places[Tensor], z: Tensor) -> Tensor:
        """Log marginal likelihood plus log priors, up to a constant."""
        K = self._kernel().of_observations(at)
        prior = log_normal(self._parameters(), self._median, self._deviation).sum()
        return log_marginal_likelihood(K, z - self._theta[-1]) + prior

    def _kernel(self) -> Kernel[Tensor]:
        return Kernel(*self._theta[self.n_features : -1].exp().unbind())

    def _numpy(self) -> tuple[Kernel[Array], float]:
        """Kernel and mean, to predict with."""
        theta = self._theta.detach().cpu().numpy()
        return Kernel(*np.exp(theta[self.n_features : -1])), float(theta[-1])

    def _look(self, rows: Rows) -> Places[Array]:
        with torch.no_grad():
            at = self._places(*self._tensors(rows))
        return Places(*(value.cpu().numpy() for value in vars(at).values()))

    def _places(
        self, trial: Tensor, member: Tensor, epoch: Tensor, x: Tensor, t: Tensor, curve: Tensor, length: Tensor
    ) -> Places[Tensor]:
        return Places(trial, member, epoch, self._h(x), t, self._psi(curve, length))

    def _h(self, x: Tensor) -> Tensor:
        scaled: Tensor = x / self._theta[: self.n_features].exp()
        return scaled

    def _tensors(self, rows: Rows) -> tuple[Tensor, ...]:
        """Rows as `_places` takes them, each trial's configuration once, and each epoch."""
        first, member, t, epoch = numbered(rows.trial, rows.t)
        arrays = (rows.trial, member, epoch, rows.x[first], t, rows.curve, rows.length)
        return tuple(self._tensor(array) for array in arrays)

    def _tensor(self, array: Array | NDArray[np.int64]) -> Tensor:
        return torch.as_tensor(array, device=self.device)


def join(a: Places[Array], b: Places[Array]) -> Places[Array]:
    """The places of a, then those of b, each trial's configuration once, and each epoch."""
    trial = np.concatenate([np.asarray(a.trial), np.asarray(b.trial)])
    h = np.concatenate([a.h[a.member], b.h[b.member]])
    first, member, t, epoch = numbered(trial, np.concatenate([a.t[a.epoch], b.t[b.epoch]]))
    return Places(trial, member, epoch, h[first], t, np.concatenate([a.e, b.e]))


def numbered(trial: NDArray[np.int64], t: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, NDArray[np.intp]]:
    """Of n rows: the first of each trial (J,), and which trial it is (n,); the epochs (T,), and which it is (n,)."""
    _, first, member = np.unique(trial, return_index=True, return_inverse=True)
    epochs, epoch = np.unique(t, return_inverse=True)
    return first, member, epochs, epoch


def log_normal(value: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Log density of a normal distribution, up to a constant."""
    return -0.5 * ((value - mean) / deviation) ** 2
