"""Predicted costs: against an explicit solve, against what costs really are, and in the decisions of DyHPO."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, EqualsCondition, Float
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, norm

from hpo4dl import DyHPO
from hpo4dl.optimizers.cost_model import CostModel, log_likelihood, log_prices, most_probable, pace_of
from hpo4dl.space.unit_cube import Space
from hpo4dl.trial import LearningCurve


def space() -> Space:
    space = ConfigurationSpace()
    kind, width = Categorical('kind', ['cnn', 'mlp']), Float('width', (8, 512), log=True)
    depth = Float('depth', (1.0, 9.0))
    space.add([kind, width, depth, Float('lr', (1e-4, 1.0), log=True), EqualsCondition(depth, kind, 'cnn')])
    return Space(space)


def cost(configuration: dict[str, Any]) -> float:
    """A factor of 500 between the cheapest and the most expensive."""
    return configuration['width'] / 100 * configuration.get('depth', 0.5)


def curve(trial_id: int, point: Any, *costs: float, epochs: list[int] | None = None) -> LearningCurve:
    made = LearningCurve(trial_id, {}, point)
    made.epochs = epochs or list(range(1, len(costs) + 1))
    made.costs, made.values, made.epoch = list(costs), [0.0] * len(costs), made.epochs[-1] if costs else 0
    return made


def told(n: int, seed: int = 0) -> tuple[Space, list[LearningCurve]]:
    """Two epochs each of n random configurations."""
    of = space()
    points = of.sample(np.random.default_rng(seed), n)
    return of, [curve(i, point, *[cost(of.from_unit(point))] * 2) for i, point in enumerate(points)]


def test_a_pace_is_the_mean_cost_of_the_epochs_whose_cost_is_known() -> None:
    point = np.zeros(4)
    assert pace_of(curve(0, point)) is None
    assert pace_of(curve(0, point, math.nan, math.nan)) is None
    assert pace_of(curve(0, point, 2.0, math.nan, 4.0)) == 3.0
    assert pace_of(curve(0, point, 2.0, 6.0, epochs=[1, 4])) == 2.0  # the second one is of three epochs


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    F, y = rng.random((6, 3)), rng.normal(size=6)
    squares = (F[:, None] - F) ** 2
    for theta in (np.zeros(5), np.array([0.3, -1.0, 2.0, -4.0, 0.5])):
        r = math.sqrt(5) * np.array([[math.dist(a / np.exp(theta[:3]), b / np.exp(theta[:3])) for b in F] for a in F])
        K = math.exp(theta[4]) * (1 + r + r**2 / 3) * np.exp(-r) + math.exp(theta[3]) * np.eye(6)
        exact = float(multivariate_normal(cov=K).logpdf(y)) + 3 * math.log(2 * math.pi)
        value, gradient = log_likelihood(theta, squares, y)
        assert value == pytest.approx(exact, abs=1e-8)
        slopes = approx_fprime(theta, lambda t: log_likelihood(t, squares, y)[0], 1e-6)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)


def test_what_is_fitted_is_at_least_as_probable_as_what_is_near_it() -> None:
    rng = np.random.default_rng(0)
    F = rng.random((30, 4))
    y = np.sin(4 * F[:, 0]) + 0.01 * rng.normal(size=30)
    y = (y - y.mean()) / y.std()
    mean, std = np.array([(0.7 + math.log(2), 1.0)] * 4 + [(-3.0, 1.5), (0.0, 0.5)]).T

    def log_posterior(theta: Any) -> float:
        return log_likelihood(theta, (F[:, None] - F) ** 2, y)[0] + float(norm.logpdf(theta, mean, std).sum())

    theta = most_probable(F, y)
    near = [log_posterior(theta + 0.1 * step) for step in rng.normal(size=(50, 6))]
    assert log_posterior(theta) > max(*near, log_posterior(mean))
    assert theta[0] + 1 < theta[1:4].min()  # the one that matters is much the shortest


def test_twenty_trials_show_which_few_of_many_hyperparameters_set_the_cost() -> None:
    declared = ConfigurationSpace()
    declared.add([Float(f'x{i}', (0.0, 1.0)) for i in range(6)])
    declared.add([Categorical(f'c{i}', ['a', 'b', 'c', 'd']) for i in range(5)])
    declared.add([Float('width', (8, 512), log=True), Float('batch', (8, 512), log=True)])
    of = Space(declared)
    explained = []
    for seed in range(5):
        points = of.sample(np.random.default_rng(seed), 220)
        configurations = [of.from_unit(point) for point in points]
        true = np.log([1 + c['width'] / 50 * (1 + 100 / c['batch']) for c in configurations])
        model = CostModel.fit(of, [curve(i, points[i], math.exp(true[i])) for i in range(20)])
        assert model is not None
        explained.append(1 - np.var(true[20:] - model.log_pace(points[20:])) / np.var(true[20:]))
    assert np.median(explained) > 0.95  # one length scale for all explains 0.6


def test_a_trial_costs_what_it_did_and_others_about_what_they_will() -> None:
    of, curves = told(60)
    model = CostModel.fit(of, curves)
    assert model is not None
    true = [cost(of.from_unit(c.point)) for c in curves]
    np.testing.assert_allclose(np.exp(model.log_pace(curves)), np.array(true))
    new = of.sample(np.random.default_rng(1), 200)
    expected = np.array([cost(of.from_unit(point)) for point in new])
    error = np.abs(model.log_pace(new) - np.log(expected))
    assert np.median(error) < 0.1
    assert np.sqrt(np.mean(error**2)) < 0.25 * np.log(expected).std()


def test_a_paused_trial_whose_cost_is_not_known_is_predicted_from_its_configuration() -> None:
    of, curves = told(60)
    model = CostModel.fit(of, curves)
    assert model is not None
    point = of.sample(np.random.default_rng(1), 1)[0]
    np.testing.assert_allclose(model.log_pace([curve(99, point, math.nan)]), model.log_pace(point[None]))


@pytest.mark.parametrize('factor', [1e-6, 1e6])
def test_the_unit_does_not_matter(factor: float) -> None:
    of, curves = told(20)
    scaled = [curve(c.trial_id, c.point, *(factor * np.array(c.costs))) for c in curves]
    new = of.sample(np.random.default_rng(1), 10)
    models = CostModel.fit(of, curves), CostModel.fit(of, scaled)
    assert models[0] is not None
    assert models[1] is not None
    np.testing.assert_allclose(models[1].log_pace(new), math.log(factor) + models[0].log_pace(new), atol=1e-6)
    np.testing.assert_allclose(*(log_prices(model, curves, new, 1.0) for model in models), atol=1e-6)


def test_where_nothing_was_told_or_all_is_free_there_is_no_model() -> None:
    of, curves = told(5)
    point = curves[0].point
    assert CostModel.fit(of, []) is None
    assert CostModel.fit(of, [curve(0, point, math.nan), curve(1, point)]) is None
    assert CostModel.fit(of, [curve(0, point, 0.0)]) is None
    assert log_prices(None, curves, np.empty((0, 4)), 1.0) == 0.0


def test_what_is_free_for_once_is_very_cheap() -> None:
    of, curves = told(5)
    curves[0].costs = [0.0, 0.0]
    model = CostModel.fit(of, curves)
    assert model is not None
    paces = np.exp(model.log_pace(curves))
    assert 0 < paces[0] < 1e-6 * paces[1:].min()


def test_equal_costs_have_no_price() -> None:
    of, curves = told(9)
    same = [curve(c.trial_id, c.point, 0.1, 0.1) for c in curves]
    new = of.sample(np.random.default_rng(1), 10)
    np.testing.assert_allclose(log_prices(CostModel.fit(of, same), same, new, 1.0), 0, atol=1e-12)


def test_one_trial_and_a_space_without_features_can_be_learned_from() -> None:
    of, curves = told(1)
    model = CostModel.fit(of, curves)
    assert model is not None
    told_pace = math.log(cost(of.from_unit(curves[0].point)))
    np.testing.assert_allclose(model.log_pace(of.sample(np.random.default_rng(1), 3)), told_pace)
    only = ConfigurationSpace()
    only.add(Constant('x', 1))
    constant = Space(only)
    fitted = CostModel.fit(constant, [curve(0, constant.sample(np.random.default_rng(0), 1)[0], 2.0)])
    assert fitted is not None
    np.testing.assert_allclose(fitted.log_pace(constant.sample(np.random.default_rng(0), 1)), math.log(2))


# In decisions


def race(costs: Any, steps: int = 40) -> tuple[list[Any], DyHPO]:
    """The steps of a race and the optimizer; `costs`: from a configuration to the cost of an epoch; None: not told."""
    optimizer = DyHPO(space(), 9, seed=0, num_configurations=50)
    taken = []
    for _ in range(steps):
        trial = optimizer.ask()
        assert trial is not None
        taken.append((trial.id, trial.previous_epoch, trial.epoch, trial.configuration))
        x = abs(math.log10(trial.configuration['lr']) + 2)
        epochs = range(trial.previous_epoch + 1, trial.epoch + 1)
        more = {} if costs is None else {'costs': [costs(trial.configuration) for _ in epochs]}
        optimizer.tell(trial, [1 / i - x for i in epochs], **more)
    return taken, optimizer


def test_costs_that_are_equal_change_no_decision_and_others_favor_the_cheap() -> None:
    free, _ = race(None)
    equal, optimizer = race(lambda configuration: 0.25)
    assert equal == free
    assert optimizer.costs is not None
    priced, _ = race(cost)
    assert priced != free

    def mean_cost(steps: list[Any]) -> float:
        return float(np.mean([math.log(cost(configuration)) for _, _, _, configuration in steps[20:]]))

    assert mean_cost(priced) < mean_cost(free) - 0.5


def test_the_price_is_what_log_ei_is_lowered_by() -> None:
    raced = (race(cost, steps=steps)[1] for steps in range(31, 40))  # at a Sobol point's turn nothing is scored
    optimizer, candidates = next((o, scored) for o in raced if (scored := o.score()) is not None)
    price = candidates.log_price
    expected = log_prices(optimizer.costs, candidates.paused, candidates.points, optimizer.policy.cost_exponent)
    reached = np.array([curve.epoch for curve in candidates.paused] + [0] * len(candidates.points))
    horizon = candidates.target_epoch[-1]  # of a new point; others may be nearer to their end
    steps = np.log((candidates.target_epoch - reached) / horizon)
    np.testing.assert_allclose(price, expected + optimizer.policy.cost_exponent * steps)
    lowered = candidates.log_ei()
    object.__setattr__(candidates, 'log_price', 0.0)
    np.testing.assert_allclose(candidates.log_ei() - price, lowered)
    np.testing.assert_array_equal(candidates.log_ei(slice(3)), candidates.log_ei()[:3])
