"""The Gaussian process against explicit solves, SciPy, scikit-learn and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from hpo4dl.surrogate.gp import Posterior, log_marginal_likelihood
from hpo4dl.surrogate.kernels import matern32, matern52, rbf, squared_distance


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.random((12, 3))
    return X, np.sin(5 * X).sum(1), rng.random((7, 3))


def covariance(a: np.ndarray, b: np.ndarray, kernel=matern52) -> np.ndarray:
    return kernel(squared_distance(torch.tensor(a) / 0.7, torch.tensor(b) / 0.7)).numpy()


def test_log_marginal_likelihood_is_scipys(data) -> None:
    X, y, _ = data
    K = covariance(X, X) + 0.01 * np.eye(12)
    ours = log_marginal_likelihood(torch.tensor(K), torch.tensor(y)).item()
    assert ours == pytest.approx(multivariate_normal(cov=K).logpdf(y), rel=1e-10)


def test_gradient_is_that_of_finite_differences(data) -> None:
    X, y, _ = data

    def value(log_length: float) -> torch.Tensor:
        length = torch.as_tensor(log_length, dtype=torch.float64).exp()
        d2 = squared_distance(torch.tensor(X) / length, torch.tensor(X) / length)
        return log_marginal_likelihood(matern52(d2) + 0.01 * torch.eye(12, dtype=torch.float64), torch.tensor(y))

    at = torch.tensor(-0.3, dtype=torch.float64, requires_grad=True)
    length = at.exp()
    d2 = squared_distance(torch.tensor(X) / length, torch.tensor(X) / length)
    log_marginal_likelihood(matern52(d2) + 0.01 * torch.eye(12, dtype=torch.float64), torch.tensor(y)).backward()
    numeric = (value(-0.3 + 1e-5) - value(-0.3 - 1e-5)).item() / 2e-5
    assert at.grad.item() == pytest.approx(numeric, rel=1e-5)


def test_posterior_is_an_explicit_solve(data) -> None:
    X, y, at = data
    K, Ks = covariance(X, X) + 0.01 * np.eye(12), covariance(X, at)
    mean, variance = Posterior.condition(K, y).predict(Ks, np.ones(7))
    assert mean == pytest.approx(Ks.T @ np.linalg.inv(K) @ y)
    assert variance == pytest.approx(1 - np.diag(Ks.T @ np.linalg.inv(K) @ Ks))


@pytest.mark.parametrize(('kernel', 'nu'), [(matern32, 1.5), (matern52, 2.5), (rbf, np.inf)])
def test_kernels_and_posterior_are_scikit_learns(data, kernel, nu: float) -> None:
    gaussian_process = pytest.importorskip('sklearn.gaussian_process')
    X, y, at = data
    theirs = gaussian_process.kernels.Matern(0.7, nu=nu)
    model = gaussian_process.GaussianProcessRegressor(theirs, alpha=0.01, optimizer=None).fit(X, y)
    assert covariance(X, at, kernel) == pytest.approx(theirs(X, at), abs=1e-5)
    mean, deviation = model.predict(at, return_std=True)
    posterior = Posterior.condition(covariance(X, X, kernel) + 0.01 * np.eye(12), y)
    ours, variance = posterior.predict(covariance(X, at, kernel), np.ones(7))
    assert ours == pytest.approx(mean, abs=1e-4)
    assert np.sqrt(variance) == pytest.approx(deviation, abs=1e-4)


def test_distances_are_scipys(data) -> None:
    X, _, at = data
    ours = squared_distance(torch.tensor(X), torch.tensor(at)).numpy()
    assert ours == pytest.approx(cdist(X, at, 'sqeuclidean'), abs=1e-12)


def test_repeated_points_without_noise_are_conditioned_on_all_the_same() -> None:
    posterior = Posterior.condition(np.ones((3, 3)), np.ones(3))
    mean, variance = posterior.predict(np.ones((3, 1)), np.ones(1))
    assert mean == pytest.approx([1], abs=1e-3)
    assert variance == pytest.approx([0], abs=1e-3)


@pytest.mark.parametrize('kernel', [rbf, matern32, matern52])
def test_kernels_are_the_same_in_numpy_and_torch(data, kernel) -> None:
    X, _, Xs = data
    np.testing.assert_allclose(kernel(squared_distance(X, Xs)), covariance(0.7 * X, 0.7 * Xs, kernel), atol=1e-10)


def test_a_posterior_that_grew_is_one_that_was_conditioned_on_all(data) -> None:
    X, y, Xs = data
    K, Ks = covariance(X, X) + 0.01 * np.eye(12), covariance(X, Xs)
    at_once = Posterior.condition(K, y)
    grown = Posterior.condition(K[:5, :5], y[:5])
    for a, b in [(5, 6), (6, 12)]:
        grown = grown.extend(K[:a, a:b], K[a:b, a:b], y[a:b])
    np.testing.assert_allclose(grown.predict(Ks, np.ones(7)), at_once.predict(Ks, np.ones(7)), atol=1e-10)
