"""The constants of the surrogate, a part of `hpo4dl.optimizers.policy.Policy`, which says where values come from."""

from __future__ import annotations

from dataclasses import dataclass

Prior = tuple[float, float]
"""Mean and standard deviation of a normal distribution."""


@dataclass(frozen=True)
class SurrogatePolicy:
    """How the surrogate is fitted, and the priors of its parameters."""

    first_fit_steps: int = 100
    """Steps of Adam of the first fit."""
    refit_steps: int = 15
    """Steps of Adam of each later fit, which goes on from the last one. Measured: 8 and 10 are a little worse."""
    learning_rate: float = 0.05
    """Adam's step size for the parameters of the kernel."""
    weight_learning_rate: float = 5e-3
    """Adam's step size for the weights of the curve encoder."""
    max_fit_rows: int = 256
    """Rows of the marginal likelihood that a fit maximizes; it bounds a fit's time. Predictions use all rows."""
    encoder: bool = True
    """Whether curves pass through the encoder."""
    min_noise: float = 1e-4
    """Least variance of the noise of a target, so that the covariance can be factored."""
    noise_decay: float = 0.1
    """The t within which the noise of first epochs falls to 1 / e."""
    t_dof: float = 3.0
    """Degrees of freedom of forecasts, a Student-t process (Shah et al. 2014): a few curves go on as none predicted."""
    weight_prior_std: float = 0.2
    """Prior standard deviation of the encoder's weights around those that were learned beforehand."""

    # Priors of the logarithms of the kernel's parameters (kernels.py), and of the mean of targets. Their means are from
    # examples/benchmarks/pretrain.py, as the encoder does; their deviations are wider than the spread that it found.
    l_x: Prior = (-1.27, 1.0)
    """log(d) / 2 is added to the mean, for d features (Hvarfner et al. 2024)."""
    l_lr: Prior = (-2.47, 1.0)
    """That of learning rates that it is told of. Measured: -1.27 is worse on tables of 27, -3 no better."""
    l_beside_lr: Prior = (-0.77, 1.0)
    """That of all other features then. Measured together with `l_lr`."""
    lr_curvature: float = 5.0
    """The mean of targets falls by a quarter of it from a learning rate's default to the range end. Measured: 0, 8."""
    l_t: Prior = (0.25, 0.5)
    l_c: Prior = (-0.97, 0.5)
    s_m: Prior = (-6.98, 1.0)
    s_x: Prior = (-0.36, 0.5)
    s_d: Prior = (-4.59, 0.7)
    s_c: Prior = (-3.2, 1.0)
    r: Prior = (-0.97, 0.7)
    s_n: Prior = (-6.51, 1.4)
    s_1: Prior = (-3.75, 1.3)
    mean: Prior = (-0.91, 0.5)
