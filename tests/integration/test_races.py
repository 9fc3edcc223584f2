"""Whole races on made-up problems: that what an optimizer decides pays."""

from __future__ import annotations

import math

import numpy as np
from ConfigSpace import ConfigurationSpace

from hpo4dl import DyHPO, RandomSearch, Trial

SPACE = {'x': (0.0, 1.0), 'y': (-2.0, 3.0), 'kind': ['a', 'b', 'c']}
MAX_EPOCHS = 5


def value(trial: Trial, epoch: int) -> float:
    """A curve that rises to -(x - 0.3)^2 - ..., best at x = 0.3, y = 1, kind b."""
    c = trial.configuration
    return -((c['x'] - 0.3) ** 2) - (c['y'] - 1) ** 2 / 25 - 0.2 * (c['kind'] != 'b') - 0.5 / epoch


def regret(optimizer, epochs: int = 60) -> float:
    best = -math.inf
    while epochs > 0:
        trial = optimizer.ask()
        values = [value(trial, epoch) for epoch in range(trial.previous_epoch + 1, trial.epoch + 1)]
        optimizer.tell(trial, values)
        epochs -= len(values)
        best = max(best, *values)
    return -0.5 / MAX_EPOCHS - best


def test_on_a_smooth_problem_dyhpo_beats_random_search() -> None:
    space = ConfigurationSpace(SPACE)
    ours = [regret(DyHPO(space, MAX_EPOCHS, seed=seed, num_configurations=200)) for seed in range(4)]
    random = [regret(RandomSearch(space, MAX_EPOCHS, seed=seed)) for seed in range(40)]
    assert np.mean(ours) < 0.5 * np.mean(random)  # 0.21 of it, over ten seeds
