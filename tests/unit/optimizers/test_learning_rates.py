"""Which hyperparameters are learning rates, and what the surrogate believes of them before it has seen anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer

from hpo4dl import DyHPO
from hpo4dl.optimizers.learning_rates import is_learning_rate, learning_rates
from hpo4dl.space.unit_cube import Space
from hpo4dl.surrogate.policy import SurrogatePolicy

RATES = [
    *('lr', 'LR', 'lr0', 'baseLR', 'base_lr', 'lrBackbone', 'lr_head', 'learning_rate', 'learningRate', 'learningrate'),
    *(
        'optimizer:lr',
        'optimizer.learning_rate',
        'adam-lr',
        'learning_rate_init',
        'Learning Rate',
        'initial_learning_rate',
    ),
]
OTHERS = [
    *(
        'lr_decay',
        'min_lr',
        'lr_gamma',
        'learning_rate_decay',
        'lrFinal',
        'lr_warmup',
        'color',
        'filtering',
        'alr',
        'x',
        '',
    ),
    *('learning', 'rate', 'dropout_rate', 'rate_learning', 'weight_decay', 'momentum', '0', 'learning_dropout_rate'),
]


def space() -> ConfigurationSpace:
    found = ConfigurationSpace(seed=0)
    found.add(Categorical('optimizer', ['sgd', 'adam']), Float('dropout', (0.0, 0.5)), Float('lr_linear', (0.0, 1.0)))
    found.add(Float('lr', (1e-5, 1e-1), log=True, default=1e-2), Integer('width_lr', (8, 512), log=True))
    found.add(Float('beta', (1e-3, 1.0), log=True), Float('adam_lr', (1e-4, 1.0), log=True))
    found.add(EqualsCondition(found['adam_lr'], found['optimizer'], 'adam'))
    return found


@pytest.mark.parametrize('name', RATES)
def test_names_of_learning_rates(name: str) -> None:
    assert is_learning_rate(name)


@pytest.mark.parametrize('name', OTHERS)
def test_names_of_what_is_no_learning_rate(name: str) -> None:
    assert not is_learning_rate(name)


def test_only_numbers_on_a_log_scale_are_learning_rates_and_their_columns_are_where_they_vary() -> None:
    of = Space(space())
    found = learning_rates(of)
    assert set(found) == {of.columns['lr'], of.columns['adam_lr']}
    assert found[of.columns['lr']] == pytest.approx(0.75)  # 1e-2 in 1e-5 .. 1e-1
    assert found[of.columns['adam_lr']] == pytest.approx(0.5)  # not active by default
    points = of.sample(np.random.default_rng(0), 50)
    for name in ('lr', 'adam_lr', 'dropout', 'beta'):
        j = list(of.names).index(name)
        expected = np.nan_to_num(points[:, j], nan=0.5)
        assert np.array_equal(of.features(points)[:, of.columns[name]], expected)


def test_before_any_value_a_learning_rate_is_expected_to_be_best_at_its_default() -> None:
    """The prior mean is a parabola around the default, lr_curvature / 4 lower at the farther end of the range."""
    policy = SurrogatePolicy()
    surrogate = DyHPO(space(), 9).surrogate
    column = Space(space()).columns['lr']
    x = np.full((4, surrogate.n_features), 0.5)
    x[:, column] = [0.75, 0.0, 0.375, 1.0]
    falls = surrogate._falls(x)
    assert falls == pytest.approx(policy.lr_curvature / 4 * np.array([0.0, 1.0, 0.25, 1 / 9]))


def test_new_configurations_are_predicted_alike_by_both_ways() -> None:
    """`candidates` and `predict` know the same of a configuration that no trial has."""
    optimizer = DyHPO(space(), 9, seed=1)
    while (found := optimizer.score()) is None:
        trial = optimizer.ask()
        assert trial is not None
        value = trial.epoch - np.log10(trial.configuration['lr'])
        optimizer.tell(trial, [float(value)] * (trial.epoch - trial.previous_epoch))
    new = len(found.paused)
    for point, epoch, mean in zip(found.points[:5], found.target_epoch[new:], found.prediction.mean[new:]):
        assert optimizer.predict(point, [int(epoch)])[0][0] == pytest.approx(mean)


def test_a_policy_without_curvature_knows_nothing_of_learning_rates() -> None:
    policy = DyHPO(space(), 9).policy
    plain = replace(policy, surrogate=replace(policy.surrogate, lr_curvature=0.0))
    surrogate = DyHPO(space(), 9, policy=plain).surrogate
    assert not surrogate._falls(np.random.default_rng(0).random((5, surrogate.n_features))).any()


def test_in_long_trainings_it_is_not_told_and_beside_a_learning_rate_other_lengths_are_longer() -> None:
    policy = DyHPO(space(), 9).policy
    assert not DyHPO(space(), policy.short_race).surrogate.learning_rates
    surrogate = DyHPO(space(), policy.short_race - 1).surrogate
    lengths = surrogate.parameters()[0].detach().numpy()[: surrogate.n_features] - 0.5 * np.log(surrogate.n_features)
    told = policy.surrogate
    expected = [told.l_lr[0] if j in surrogate.learning_rates else told.l_beside_lr[0] for j in range(len(lengths))]
    assert lengths == pytest.approx(expected)
    assert sorted(surrogate.learning_rates) == sorted(learning_rates(Space(space())))
