"""Targets of the surrogate against scipy.stats, and for any scale of the metric."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import iqr, norm, rankdata

from hpo4dl.optimizers.output_transform import OutputTransform
from hpo4dl.optimizers.policy import Policy

POLICY = Policy()
WORST, BEST, BEYOND = POLICY.failed_target, POLICY.max_asinh, POLICY.max_beyond

# Of three decimals: what is apart stays apart whatever the unit.
metrics = st.lists(st.integers(-100_000, 100_000).map(lambda i: i / 1000), min_size=1, max_size=40).map(np.array)


def fitted(y: np.ndarray, policy: Policy = POLICY) -> OutputTransform:
    return OutputTransform.fit(y, policy)


def normal_scores(y: np.ndarray) -> np.ndarray:
    """Phi^-1 of (rank - 1/2) / n, the mean rank where values tie."""
    return norm.ppf((rankdata(y) - 0.5) / len(y))


@pytest.mark.parametrize('y', [np.array([3.0, 1.0, 2.0, 2.0, 7.0, -4.0]), np.random.default_rng(0).normal(size=99)])
def test_targets_are_the_mean_of_normal_scores_and_of_asinh(y: np.ndarray) -> None:
    robust = np.arcsinh((y - np.median(y)) / iqr(y, scale='normal'))
    assert fitted(y)(y) == pytest.approx((normal_scores(y) + robust) / 2, abs=2e-4)  # 1.349 is rounded
    assert fitted(y, Policy(rank_weight=1.0))(y) == pytest.approx(normal_scores(y))
    assert fitted(y, Policy(rank_weight=0.0))(y) == pytest.approx(robust, abs=4e-4)


def test_normal_values_are_about_their_own_targets() -> None:
    y = norm.ppf((np.arange(999) + 0.5) / 999)
    assert fitted(5 + 3 * y)(5 + 3 * y)[200:800] == pytest.approx(y[200:800], abs=0.06)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seen=metrics, asked=metrics)
def test_larger_is_better(seen: np.ndarray, asked: np.ndarray) -> None:
    y = np.sort(np.concatenate([seen, asked]))
    z = fitted(seen)(y)
    assert (np.diff(z) >= 0).all()
    at_seen = fitted(seen)(np.unique(seen))
    assert (np.diff(at_seen) > 0).all()
    if len(np.unique(seen)) > 1:
        assert fitted(seen)(seen.max() + np.ptp(seen)) > at_seen[-1]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seen=metrics, asked=metrics, factor=st.sampled_from([1e-6, 1e-3, 7.0, 1e6, 2.0**90]))
def test_the_unit_of_the_metric_does_not_matter(seen: np.ndarray, asked: np.ndarray, factor: float) -> None:
    np.testing.assert_array_equal(fitted(seen * factor)(asked * factor), fitted(seen)(asked))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seen=metrics, far=st.lists(st.sampled_from([1e34, -1e34, 1e308, -1e308, -1.7e308, 5e-324]), max_size=5))
def test_no_value_is_too_large(seen: np.ndarray, far: list[float]) -> None:
    y = np.sort(np.concatenate([seen, far]))
    for transform in (fitted(y), fitted(seen), fitted(seen * 1e-9)):
        z = transform(y)
        assert np.isfinite(z).all()
        assert (np.diff(z) >= 0).all()
        assert (WORST - 2.3 - 0.5) / 2 <= z.min() <= z.max() <= (BEST + 2.3) / 2 + BEYOND  # Phi(2.3) > 1 - 0.5 / 45


@pytest.mark.parametrize(
    'y',
    [
        [-1.7e308, 1e308],
        [-1.7e308, -1.7e308, 1e308, 0.0, 1e308, 1.7e308],
        [0.0, 1e-3, 2e-3, 3e-3, 1e-3, 1e308],
        [5e-324, 0.0, 1e-323],
    ],
)
def test_the_ends_of_floating_point_are_ordered(y: list[float]) -> None:
    z = fitted(np.array(y))(np.array(y))
    assert np.abs(z).max() < BEST
    assert (np.diff(z[np.argsort(y)]) >= 0).all()
    assert z.min() < z.max()


def test_a_diverged_loss_is_as_bad_whatever_it_is() -> None:
    losses = np.random.default_rng(1).random(30)
    targets = [fitted(-np.append(losses, far))(-np.append(losses, far)) for far in (1e4, 1e34, 1e308)]
    np.testing.assert_array_equal(targets[0], targets[1])
    np.testing.assert_array_equal(targets[0], targets[2])


@pytest.mark.parametrize('y', [[0.3], [0.3] * 9, [0.0, 0.0], [-1e299] * 3])
def test_equal_values_have_target_zero(y: list[float]) -> None:
    transform = fitted(np.array(y))
    np.testing.assert_array_equal(transform(np.array(y)), np.zeros(len(y)))
    below, above = transform(np.array([-1.5e308, 1.5e308]))
    assert below < 0 < above


def test_beyond_the_best_value_is_as_steep_as_below() -> None:
    y = np.array([0.0, 1.0, 2.0, 3.0, 3.5])
    slope = (normal_scores(y)[-1] - normal_scores(y)[-2]) / 0.5
    asinh = np.arcsinh((np.array([3.5 - 1e-6, 3.5]) - np.median(y)) / iqr(y, scale='normal'))
    low, high = fitted(y)(np.array([3.5, 3.7]))
    assert high - low == pytest.approx(0.2 * (slope + (asinh[1] - asinh[0]) / 1e-6) / 2, abs=1e-4)
    assert fitted(y)(np.array(1e9)) - low == pytest.approx(BEYOND)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seen=metrics, asked=st.lists(st.floats(-30, 30), min_size=1, max_size=20).map(sorted).map(np.array))
def test_inverse_has_the_values_and_their_order_and_ends(seen: np.ndarray, asked: np.ndarray) -> None:
    transform = fitted(seen)
    assert transform.inverse(transform(seen)) == pytest.approx(seen, rel=1e-6, abs=1e-6 * np.ptp(seen))
    back = transform.inverse(asked)
    assert (np.diff(back) >= -1e-12 * np.abs(back).max()).all()
    assert np.isfinite(back).all()
    within = (asked > transform(seen.min())) & (asked < transform(seen.max()))
    assert np.clip(back[within], seen.min(), seen.max()) == pytest.approx(back[within])
    above = asked[(asked > transform(seen.max())) & (asked < transform(seen.max() + 1e9))]
    if np.unique(seen).size > 1:
        assert transform(transform.inverse(above)) == pytest.approx(above, abs=0.02)


@pytest.mark.parametrize('gap', [5e-324, 1e-320, 1e-310, 1e-308])
def test_values_too_close_for_floating_point_have_finite_targets_in_order(gap: float) -> None:
    """Such as p-values and likelihoods; between them nothing can be divided."""
    y = np.array([0.0, gap, 2 * gap, 1.0])
    transform = fitted(y)
    between = np.sort(np.concatenate([y, [gap / 2, 1.5 * gap, 1e-300, 0.5]]))
    targets = transform(between)
    assert np.isfinite(targets).all()
    assert (np.diff(targets) >= 0).all()
    assert np.isfinite(transform.inverse(np.linspace(-5, 5, 50))).all()
