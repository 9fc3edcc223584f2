"""Random search: full trainings of configurations drawn from the space's distribution."""

from __future__ import annotations

import pytest
from ConfigSpace import ConfigurationSpace, Float
from scipy import stats

from hpo4dl import RandomSearch


def test_every_trial_is_trained_to_the_end_at_once() -> None:
    optimizer = RandomSearch(ConfigurationSpace({'x': (0.0, 1.0)}), 27, seed=0)
    trials = [optimizer.ask() for _ in range(5)]
    assert [(trial.id, trial.previous_epoch, trial.epoch) for trial in trials] == [(i, 0, 27) for i in range(5)]


def test_configurations_have_the_distribution_of_the_space() -> None:
    rate = Float('rate', (1e-4, 1.0), log=True)
    optimizer = RandomSearch(ConfigurationSpace({'x': (-5.0, 10.0), 'rate': rate}), 1, seed=0)
    drawn = [optimizer.ask().configuration for _ in range(500)]
    assert stats.kstest([c['x'] for c in drawn], stats.uniform(-5, 15).cdf).pvalue > 0.01
    assert stats.kstest([c['rate'] for c in drawn], stats.loguniform(1e-4, 1).cdf).pvalue > 0.01
    assert abs(stats.spearmanr([c['x'] for c in drawn], [c['rate'] for c in drawn])[0]) < 0.15


def test_a_trial_cut_short_is_trained_on_before_another_starts() -> None:
    optimizer = RandomSearch(ConfigurationSpace({'x': (0.0, 1.0)}), 9, seed=0)
    optimizer.tell(optimizer.ask(), [0.5, 0.6])  # a budget that ended after two epochs, and was raised
    trial = optimizer.ask()
    assert (trial.id, trial.previous_epoch, trial.epoch) == (0, 2, 9)
    assert optimizer.ask().id == 1


def test_metrics_change_nothing() -> None:
    def drawn(metric: float) -> list[dict[str, object]]:
        optimizer = RandomSearch(ConfigurationSpace({'x': (0.0, 1.0)}), 1, seed=0)
        configurations = []
        for _ in range(10):
            trial = optimizer.ask()
            configurations.append(trial.configuration)
            optimizer.tell(trial, [metric * trial.configuration['x']])
        return configurations

    assert drawn(1.0) == drawn(-1.0)


@pytest.mark.parametrize('n', [1, 6])
def test_a_small_space_ends(n: int) -> None:
    optimizer = RandomSearch(ConfigurationSpace({'n': (1, n)} if n > 1 else {'n': 1}), 3, seed=0)
    for _ in range(n):
        optimizer.tell(optimizer.ask(), [0.1, 0.2, 0.3])
    assert optimizer.ask() is None
    assert sorted(curve.configuration['n'] for curve in optimizer.curves.values()) == list(range(1, n + 1))
