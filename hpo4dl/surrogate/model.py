"""The surrogate of learning curves: a deep-kernel Gaussian process that is fitted, conditioned, and asked.

    n     rows that it is conditioned on (`Inputs`)         d     features of a configuration
    z     (n,) targets, larger is better                    psi   the curve encoder
    theta (d + 10,) log l_x, the logarithms of the kernel's other parameters (`Kernel`), and the mean

All parameters, those of psi included, are fitted together by Adam on the exact log marginal likelihood plus their log
priors (MAP), in torch and float64; predictions are made in NumPy. The deep kernel is that of Wistuba et al. 2022,
Section 4.1, with two differences: its network was learned beforehand on many curves (after Wistuba & Grabocka 2021),
since a race has too few to learn it from, and it also gives the prior mean; and configurations do not pass through it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from torch import Tensor

from ..log import Log
from ..trial import Array
from .adam import Adam
from .curve_encoder import CurveEncoder, pretrained
from .gp import Posterior, log_marginal_likelihood
from .kernels import Inputs, Kernel, KernelInputs, deduplicate
from .policy import SurrogatePolicy
from .prediction import CandidatePosterior, ConditionedGP

logger = Log(__name__)


class Surrogate:
    """The model and its parameters; each fit starts from where the last one ended.

    Args:
        n_features: columns of the configurations' features, d.
        policy: how it is fitted, and its priors.
        device: where fits are computed; default the CPU.
        learning_rates: the features that are learning rates, by column, each with the coordinate of its default.
    """

    def __init__(
        self,
        n_features: int,
        policy: SurrogatePolicy,
        device: str | None = None,
        learning_rates: Mapping[int, float] | None = None,
    ) -> None:
        self.n_features = n_features
        self.policy = policy
        self.learning_rates = {} if learning_rates is None else dict(learning_rates)
        self.device = torch.device(device or 'cpu')
        self._is_fitted = False
        self._reset()
        self.gp = self._prior()
        """What it knows: the process, conditioned on observations."""

    def fit(self, inputs: Inputs, z: Array) -> None:
        """Improve the parameters on targets z (n,), and condition on these alone.

        Never raises: after a failure the parameters are the medians of their priors.
        """
        index = np.unique(np.linspace(0, len(z) - 1, min(len(z), self.policy.max_fit_rows)).round().astype(np.int64))
        subset = inputs.take(index)
        try:
            for _ in range(self.policy.refit_steps if self._is_fitted else self.policy.first_fit_steps):
                loss = -self.log_posterior(subset, z[index])
                if not torch.isfinite(loss):
                    raise ArithmeticError('the marginal likelihood is not finite')
                self._adam.step(loss)
            if not torch.isfinite(self._flat()).all():
                raise ArithmeticError('a parameter is not finite')
            self._is_fitted = True
        except (RuntimeError, ArithmeticError) as error:  # torch's LinAlgError is a RuntimeError
            self._reset(error)
        try:
            self.gp = ConditionedGP.condition(self._kernel(), self.kernel_inputs(inputs), z)
        except LinAlgError as error:
            self._reset(error)
            self.gp = self._prior()

    def append(self, inputs: Inputs, z: Array) -> None:
        """Condition on further observations, without fitting. Never raises."""
        try:
            self.gp = self.gp.extend(self.kernel_inputs(inputs), z)
        except LinAlgError as error:
            logger.info('observations are left out until the next fit: %s', error)

    def candidates(self, paused: Inputs, x: Array, running: Inputs | None = None) -> CandidatePosterior:
        """Prepare predictions of k paused trials and of new configurations.

        Args:
            paused: one row a trial, with its curve so far.
            x: (m - k, d) features of configurations that no trial has.
            running: rows whose values are to come; each counts as if it were as predicted (Kriging believer), which
                leaves all means as they are.
        """
        gp = self.gp
        if running is not None and len(running.t):
            pending = self.kernel_inputs(running)
            try:
                gp = gp.extend(pending, gp.predict(pending)[0])
            except LinAlgError as error:
                logger.info('running trials are left out of account: %s', error)
        none = np.zeros(1, dtype=np.int64)
        row = Inputs(none - 1, np.zeros((1, self.n_features)), np.zeros(1), np.zeros((1, 0)), none, paused.max_epochs)
        falls = self._falls(x) - self._falls(row.x)

        def encode(t: Array, t_new: float) -> tuple[KernelInputs[Array], KernelInputs[Array]]:
            new = self.kernel_inputs(replace(row, t=np.array([t_new])))
            return self.kernel_inputs(replace(paused, t=t)), replace(new, mean=new.mean - falls)

        return CandidatePosterior(gp, encode, paused.trial, self._scaled(paused.x), self._scaled(x))

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """(n,) means and (n,) standard deviations of latent values."""
        mean, variance = self.gp.predict(self.kernel_inputs(inputs))
        return mean, np.sqrt(variance)

    def noise(self, t: Array) -> Array:
        """(n,) variances of observations at t (n,) around their latent values."""
        return self.gp.kernel.noise(t)

    def variance_factor(self, trial: int) -> float:
        """Factor of one trial's variances in a Student-t process with nu = `t_dof`; 1 of a trial without a curve.

        (nu - 2 + b) / (nu - 2 + m), where b is the sum of the squares of the trial's m standardized one-step-ahead
        errors (Shah et al. 2014, Lemma 3, applied to each trial alone, since some curves are smooth and some are not).
        """
        rows = np.nonzero(np.asarray(self.gp.inputs.trial) == trial)[0][1:]
        error = self.gp.posterior.whitened[rows]
        nu = self.policy.t_dof
        return float((nu - 2 + error @ error) / (nu - 2 + len(error)))

    def trials(self) -> set[int]:
        """The trials that it is conditioned on."""
        return set(np.asarray(self.gp.inputs.trial).tolist())

    def parameters(self) -> list[Tensor]:
        """Theta, then the weights of psi: the tensors that fits change in place."""
        return [self._theta, *(self._psi.parameters() if self._psi else [])]

    def log_posterior(self, inputs: Inputs, z: Array) -> Tensor:
        """Log marginal likelihood of targets z (n,) plus log priors of the parameters, up to a constant.

        Raises:
            torch.linalg.LinAlgError: the covariance is not positive definite in floating point.
        """
        kernel = Kernel(self.policy, *self._theta[self.n_features : -1].exp().unbind())
        kernel_inputs = self._kernel_inputs(inputs)
        K, mean = kernel.of_observations(kernel_inputs), kernel_inputs.mean
        prior = -0.5 * ((self._flat() - self._prior_mean) / self._prior_std) ** 2
        return log_marginal_likelihood(K, self._tensor(z) - mean) + prior.sum()

    def kernel_inputs(self, inputs: Inputs) -> KernelInputs[Array]:
        """What the kernel is computed from, with the parameters as they are."""
        with torch.no_grad():
            tensors = vars(self._kernel_inputs(inputs))
        return KernelInputs(**{name: tensor.cpu().numpy() for name, tensor in tensors.items()})

    def _kernel_inputs(self, inputs: Inputs) -> KernelInputs[Tensor]:
        encoded = encode(inputs, self._theta[: self.n_features].exp(), self._theta[-1], self._psi)
        return replace(encoded, mean=encoded.mean - self._tensor(self._falls(inputs.x)))

    def _falls(self, x: Array) -> Array:
        """(n,) what learning rates away from their defaults lower the prior means of features x (n, d) by."""
        falls = np.zeros(len(x))
        for column, default in self.learning_rates.items():
            falls += self.policy.lr_curvature * (0.5 * (x[:, column] - default) / max(default, 1 - default)) ** 2
        return falls

    @torch.no_grad()
    def _scaled(self, x: Array) -> Array:
        scaled: Array = (self._tensor(x) / self._theta[: self.n_features].exp()).cpu().numpy()
        return scaled

    def _kernel(self) -> Kernel[Array]:
        """With the parameters as they are, in NumPy."""
        theta = self._theta.detach().cpu().numpy()
        return Kernel(self.policy, *np.exp(theta[self.n_features : -1]))

    def _prior(self) -> ConditionedGP:
        none = np.zeros(0, dtype=np.int64)
        inputs = Inputs(none, np.zeros((0, self.n_features)), np.zeros(0), np.zeros((0, 0)), none, 1)
        posterior = Posterior(np.zeros((0, 0)), np.zeros(0))
        return ConditionedGP(self._kernel(), self.kernel_inputs(inputs), np.zeros(0), posterior)

    def _reset(self, error: Exception | None = None) -> None:
        """Set the parameters to the medians of their priors."""
        if error is not None:
            logger.info('the surrogate starts again from its prior: %s', error)
        d, policy = self.n_features, self.policy
        l_x = policy.l_beside_lr if self.learning_rates else policy.l_x
        lengths = [policy.l_lr if column in self.learning_rates else l_x for column in range(d)]
        priors = [(mean + 0.5 * math.log(max(d, 1)), std) for mean, std in lengths]
        priors += [getattr(policy, field.name) for field in fields(Kernel)[1:]]
        priors.append((policy.mean[0] + policy.lr_curvature / 12 * len(self.learning_rates), policy.mean[1]))
        theta, theta_std = self._tensor(np.array(priors).T)
        self._theta = theta.clone().requires_grad_()
        self._psi = CurveEncoder(pretrained()).to(self.device) if policy.encoder else None
        weights = [(weight, policy.weight_learning_rate) for weight in self.parameters()[1:]]
        self._adam = Adam([(self._theta, policy.learning_rate), *weights])
        self._prior_mean = self._flat().detach()
        psi_std = torch.full_like(self._prior_mean[len(priors) :], policy.weight_prior_std)
        self._prior_std = torch.cat([theta_std, psi_std])
        self._is_fitted = False

    def _flat(self) -> Tensor:
        """All parameters in one vector."""
        return torch.cat([parameter.flatten() for parameter in self.parameters()])

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=self.device)


def encode(inputs: Inputs, l_x: Tensor, mean: Tensor, psi: CurveEncoder | None) -> KernelInputs[Tensor]:
    """What the kernel is computed from, given the features' length scales (d,), the mean, and the encoder, if any."""
    first, *distinct = deduplicate(inputs.trial, inputs.t)
    names = (inputs.trial, *distinct, inputs.x[first], inputs.curve, inputs.length, inputs.t)
    tensors = (torch.as_tensor(array, device=l_x.device) for array in names)
    trial, trial_index, t, epoch_index, x, curve, length, times = tensors
    # `forward`: hooks that somebody has on all modules are none of ours
    code = t.new_zeros(len(inputs.t), 1) if psi is None else psi.forward(curve, length, times, inputs.max_epochs)
    trend = code[:, 0] if psi is None else code @ psi.out
    return KernelInputs(trial, trial_index, epoch_index, x / l_x, t, code, mean + trend)
