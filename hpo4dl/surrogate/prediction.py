"""Predictions for a decision: of paused trials and of new configurations, at one horizon after another.

    k, m     paused trials, and all candidates: these, then m - k new configurations
    n        observations that the process is conditioned on
    K*       (k, n) or (m, n) covariances of candidates' latent values with the observations
    mean, std   (m,) of the candidates' latent values

Upper bounds of standard deviations come first, because exact ones, a triangular solve for each of a thousand
candidates, are most of a decision's time. A Gaussian process given fewer observations is never more certain: the first
quarter of the rows, those of the best trials, gives upper bounds at a sixteenth of the cost. Expected improvement grows
with the standard deviation, so a decision refines the few candidates that may have the largest. That halves its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from ..trial import Array
from .gp import Posterior
from .kernels import Kernel, KernelInputs, at_pairs, concatenate


@dataclass(frozen=True)
class ConditionedGP:
    """The fitted process, conditioned on observations. It never changes: `extend` returns another one."""

    kernel: Kernel[Array]
    inputs: KernelInputs[Array]
    z: Array
    """(n,) targets."""
    posterior: Posterior

    @classmethod
    def condition(cls, kernel: Kernel[Array], inputs: KernelInputs[Array], z: Array) -> ConditionedGP:
        """Condition on targets z (n,).

        Raises:
            scipy.linalg.LinAlgError: the covariance cannot be factored.
        """
        return cls(kernel, inputs, z, Posterior.condition(kernel.of_observations(inputs), z - inputs.mean))

    def extend(self, inputs: KernelInputs[Array], z: Array) -> ConditionedGP:
        """Condition on further targets z (k,); where rows cannot be added to the Cholesky factor, factor anew.

        Raises:
            scipy.linalg.LinAlgError: that does not help either.
        """
        all_inputs, all_z = concatenate(self.inputs, inputs), np.concatenate([self.z, z])
        Ks, Kss = self.kernel(self.inputs, inputs), self.kernel.of_observations(inputs)
        try:
            posterior = self.posterior.extend(Ks, Kss, z - inputs.mean)
        except LinAlgError:
            return ConditionedGP.condition(self.kernel, all_inputs, all_z)
        return ConditionedGP(self.kernel, all_inputs, all_z, posterior)

    def predict(self, inputs: KernelInputs[Array]) -> tuple[Array, Array]:
        """(m,) means and (m,) variances of latent values."""
        mean, variance = self.posterior.predict(
            self.kernel(self.inputs, inputs), np.full(len(inputs.mean), self.kernel.variance())
        )
        return inputs.mean + mean, variance


class Prediction:
    """Means of m latent values, and their standard deviations: upper bounds, which `refine` makes exact.

    Args:
        mean: (m,)
        bound: (m,) upper bounds of the standard deviations.
        exact: the standard deviations at ascending indices.
    """

    def __init__(self, mean: Array, bound: Array, exact: Callable[[NDArray[np.int64]], Array]) -> None:
        self.mean = mean
        self.std = bound
        self.is_exact = np.zeros(len(mean), dtype=bool)
        self._exact = exact

    def refine(self, index: NDArray[np.int64]) -> None:
        """Make the standard deviations at these indices exact."""
        index = np.sort(index[~self.is_exact[index]])
        self.std[index] = self._exact(index)
        self.is_exact[index] = True


class CandidatePosterior:
    """The covariances of k paused trials and m - k new configurations with the observations.

    Those of configurations, which do not depend on the epoch, are computed once, so that there can be several horizons.

    Args:
        gp: the conditioned process.
        encode: from epochs t (k,) of the paused trials and one epoch of all new configurations to the rows of the
            paused trials (k,), and a row without a curve (1,), which has the prior means of all of these (m - k,).
        trial: (k,) the paused trials.
        x_paused: (k, d) their scaled configurations.
        x_new: (m - k, d) those of new configurations, which no trial has.
    """

    def __init__(
        self,
        gp: ConditionedGP,
        encode: Callable[[Array, float], tuple[KernelInputs[Array], KernelInputs[Array]]],
        trial: NDArray[np.int64],
        x_paused: Array,
        x_new: Array,
    ) -> None:
        kernel, data = gp.kernel, gp.inputs
        self._gp = gp
        self._encode = encode
        self._alpha = gp.posterior.alpha()
        self._k_config = kernel.configurations(x_paused, data.x_scaled)[:, data.trial_index]
        self._same_trial = np.nonzero(trial[:, None] == data.trial)
        self._k_config_new = kernel.configurations(x_new, data.x_scaled)

    def predict(self, t: Array, t_new: float) -> Prediction:
        """Predict the latent values of the paused trials at epochs t (k,), then of the new configurations at t_new."""
        data, posterior, kernel = self._gp.inputs, self._gp.posterior, self._gp.kernel
        paused, new = self._encode(t, t_new)
        k_paused = self._covariance(paused)
        k_epoch = kernel.epochs(new.t, data.t)[:, data.epoch_index]
        k_curve_new = kernel.curves(new.curve_code, data.curve_code)
        # The covariance of a new configuration with a row is k_config k_epoch + k_curve, where k_config is that with
        # the row's trial: so alpha is summed over the rows of each trial first.
        alpha_by_trial = np.bincount(data.trial_index, k_epoch[0] * self._alpha, len(data.x_scaled))
        mean_new = new.mean + self._k_config_new @ alpha_by_trial + k_curve_new @ self._alpha
        mean = np.concatenate([paused.mean + k_paused @ self._alpha, mean_new])

        def std(index: NDArray[np.int64], n: int) -> Array:
            """Given the first n observations."""
            new = index[index >= len(t)] - len(t)
            k_new = self._k_config_new[new][:, data.trial_index[:n]] * k_epoch[:, :n] + k_curve_new[:, :n]
            Ks = np.concatenate([k_paused[index[index < len(t)], :n], k_new])
            return np.sqrt(posterior.first(n).variance(Ks.T, np.full(len(index), kernel.variance())))

        n = len(data.epoch_index)
        return Prediction(mean, std(np.arange(len(mean)), n // 4), lambda index: std(index, n))

    def _covariance(self, paused: KernelInputs[Array]) -> Array:
        """(k, n) covariances of the paused trials' latent values with the observations."""
        data, kernel = self._gp.inputs, self._gp.kernel
        k_epoch = at_pairs(kernel.epochs(paused.t, data.t), paused.epoch_index, data.epoch_index)
        K: Array = self._k_config * k_epoch + kernel.curves(paused.curve_code, data.curve_code)
        i, j = self._same_trial
        K[i, j] += kernel.same_trial(paused.t, data.t)[paused.epoch_index[i], data.epoch_index[j]]
        return K
