"""Expected improvement against numerical integration."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from hpo4dl.optimizers.acquisition import incumbent_at, log_expected_improvement
from hpo4dl.trial import LearningCurve

CASES = [(0.3, 0.5, 0.1), (0.0, 1.0, 2.0), (-1.0, 0.2, -0.9), (2.0, 1.5, -3.0)]


@pytest.mark.parametrize(('mu', 'sigma', 'best'), CASES)
def test_is_the_integral_of_improvement(mu: float, sigma: float, best: float) -> None:
    integral, _ = quad(lambda f: (f - best) * norm.pdf(f, mu, sigma), best, mu + 12 * sigma)
    logarithm = log_expected_improvement(np.array([mu]), np.array([sigma]), best)[0]
    assert logarithm == pytest.approx(np.log(integral), rel=1e-6)


@pytest.mark.parametrize('z', [-0.999, -1.001, -5.0, -40.0, -900.0, -1100.0, -1e5])
def test_tail_is_right_where_floating_point_has_only_zero(z: float) -> None:
    mpmath.mp.dps = 60
    exact = mpmath.log(mpmath.npdf(z) + z * mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2)
    assert log_expected_improvement(np.array([z]), np.array([1.0]), 0.0)[0] == pytest.approx(float(exact), rel=1e-5)


def test_incumbent_is_the_best_of_the_same_fidelity_else_of_all() -> None:
    curves = [
        LearningCurve(i, {}, np.zeros(1), epochs=[*by_epoch], values=[*by_epoch.values()])
        for i, by_epoch in enumerate([{1: 0.2, 2: 0.4, 3: 0.7}, {}, {1: 0.1, 2: 0.5}])
    ]
    assert list(incumbent_at(np.array([1, 2, 9]), curves)) == [0.2, 0.5, 0.7]
