"""What an optimizer hands out is the caller's own: changing it changes nothing inside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from surrogates import QUICK

from hpo4dl import ASHA, ArgumentError, DyHPO, Hyperband, RandomSearch


@pytest.mark.parametrize('kind', [DyHPO, Hyperband, ASHA, RandomSearch])
def test_a_configuration_that_the_caller_changes_stays_what_it_was(kind: type) -> None:
    """Whoever changes them, and a list in them, gets the decisions of whoever does not."""
    asked = []
    for changes in (False, True):
        space = ConfigurationSpace(seed=0)
        space.add([Float('x', (0.0, 1.0)), Categorical('layers', [[32], [64, 64], [128]])])
        optimizer, got = kind(space, 9, seed=1, **({'policy': QUICK} if kind is DyHPO else {})), []
        for _ in range(40):
            trial = optimizer.ask()
            got.append((trial.id, repr(trial.configuration), trial.previous_epoch, trial.epoch))
            metrics = [trial.configuration['x'] * epoch for epoch in range(trial.previous_epoch, trial.epoch)]
            if changes:
                trial.configuration['layers'].append(7)
                trial.configuration['x'] = 99
                trial.configuration['own'] = 'note'
            optimizer.tell(trial, metrics=metrics)
        assert list(space['layers'].choices) == [[32], [64, 64], [128]]
        asked.append(got)
    assert asked[0] == asked[1]


@pytest.mark.parametrize('kind', [DyHPO, Hyperband, ASHA, RandomSearch])
def test_a_step_that_was_not_asked_for_cannot_be_told(kind: type) -> None:
    space = ConfigurationSpace({'x': (0.0, 1.0)})
    one, other = kind(space, 9, seed=0), kind(space, 9, seed=1)
    trial, foreign = one.ask(), other.ask()
    assert trial.id == foreign.id
    for wrong in (foreign, replace(trial, epoch=10), replace(trial, previous_epoch=1), replace(trial, id=5)):
        with pytest.raises(ArgumentError, match='trial: '):
            one.tell(wrong, metrics=[0.5])
    one.tell(replace(trial, epoch=1), metrics=[0.5])  # a budget may cut a step
