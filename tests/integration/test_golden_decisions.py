"""The first decisions of every optimizer on one made-up problem, against those in a file.

A change of decisions is seen here, at the decision where it begins. Where it is meant, write the file anew, and say so
in the CHANGELOG: `python tests/integration/test_golden_decisions.py`, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ConfigSpace
import numpy as np
import pytest
import scipy
import torch
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
    OrdinalHyperparameter,
)

from hpo4dl import ASHA, DyHPO, Hyperband, RandomSearch

FILE = Path(__file__).parents[1] / 'data' / 'decisions.json'
MAX_EPOCHS = 27
DECISIONS = 60
RACES: dict[str, tuple[type, dict[str, Any], int]] = {
    'dyhpo': (DyHPO, {'num_configurations': 100}, 1),
    'dyhpo, horizon next': (DyHPO, {'num_configurations': 100, 'horizon': 'next'}, 1),
    'dyhpo, 4 workers': (DyHPO, {'num_configurations': 100}, 4),
    'asha': (ASHA, {}, 1),
    'asha, 4 workers': (ASHA, {}, 4),
    'hyperband': (Hyperband, {}, 1),
    'hyperband, 4 workers': (Hyperband, {}, 4),
    'random': (RandomSearch, {}, 1),
}


def space() -> ConfigurationSpace:
    """One hyperparameter of each kind, a condition, a forbidden clause."""
    space = ConfigurationSpace()
    optimizer, momentum = Categorical('optimizer', ['sgd', 'adam']), Float('momentum', (0.0, 0.99))
    size = OrdinalHyperparameter('size', ['s', 'm', 'l'])
    parts = [optimizer, momentum, size, Float('lr', (1e-5, 1e-1), log=True), Integer('width', (16, 512), log=True)]
    one, other = ForbiddenEqualsClause(optimizer, 'adam'), ForbiddenEqualsClause(size, 'l')
    add = getattr(space, 'add', None)  # ConfigSpace 1.0
    (add or space.add_hyperparameters)(parts)
    (add or space.add_condition)(EqualsCondition(momentum, optimizer, 'sgd'))
    (add or space.add_forbidden_clause)(ForbiddenAndConjunction(one, other))
    return space


def metric(configuration: dict[str, Any], epoch: int) -> float:
    """Of sums, products and quotients alone, which every machine rounds alike."""
    lr, width = configuration['lr'], configuration['width']
    loss = abs(lr - 0.002) / (lr + 0.002) + abs(width - 100) / (width + 100) - configuration.get('momentum', 0.5) / 8
    loss += {'s': 0.25, 'm': 0.0, 'l': 0.125}[configuration['size']]
    return loss + (1 + lr * 50) / (epoch + 1)


def decisions(kind: type, arguments: dict[str, Any], workers: int) -> list[list[Any]]:
    """Trial, from, to, and at its first step the configuration, floats as hexadecimal digits.

    Calls end out of order where there are more workers than one, and every seventeenth fails.
    """
    optimizer = kind(space(), MAX_EPOCHS, minimize=True, seed=5, **arguments)
    running: list[Any] = []
    taken: list[list[Any]] = []
    while len(taken) < DECISIONS:
        while len(running) < workers and (trial := optimizer.ask()) is not None:
            running.append(trial)
            decision = [trial.id, trial.previous_epoch, trial.epoch]
            if trial.previous_epoch == 0:
                items = sorted(trial.configuration.items())
                decision.append({name: v.hex() if isinstance(v, float) else v for name, v in items})
            taken.append(decision)
        ended = running.pop(len(taken) * 7 % len(running))
        if len(taken) % 17 == 0:
            optimizer.tell(ended, failed='out of memory')
        else:
            epochs = range(ended.previous_epoch + 1, ended.epoch + 1)
            optimizer.tell(ended, [metric(dict(ended.configuration), epoch) for epoch in epochs])
    return taken[:DECISIONS]


def versions() -> dict[str, str]:
    """What the last bits of a decision depend on."""
    told = {module.__name__: str(module.__version__) for module in (ConfigSpace, np, scipy, torch)}
    capability = getattr(torch.backends.cpu, 'get_cpu_capability', None)  # torch 2.0
    return told | {'processor': capability() if capability else 'unknown'}


@pytest.mark.parametrize('name', RACES)
def test_decisions_are_those_in_the_file(name: str) -> None:
    stored = json.loads(FILE.read_text(encoding='utf-8'))
    expected = stored['decisions'][name]
    assert len(expected) == DECISIONS
    for number, (now, then) in enumerate(zip(decisions(*RACES[name]), expected), 1):
        if now != then:
            text = f'{name}: decision {number} is {now}; in {FILE.name} it is {then}.'
            if versions() != stored['versions']:
                text += f' The file was written with {stored["versions"]}, here are {versions()}: '
                text += 'if hpo4dl did not change, their floating point did.'
            pytest.fail(text)


def write() -> None:
    """Write the file anew, one line a decision."""
    races = []
    for name, race in RACES.items():
        lines = ',\n'.join(f'   {json.dumps(decision)}' for decision in decisions(*race))
        races.append(f'  {json.dumps(name)}: [\n{lines}\n  ]')
    head, body = f'{{\n "versions": {json.dumps(versions())},\n "decisions": {{\n', ',\n'.join(races)
    FILE.write_text(f'{head}{body}\n }}\n}}\n', encoding='utf-8')


if __name__ == '__main__':
    torch.set_num_threads(1)
    write()
    print(f'{FILE} is written, with {os.path.getsize(FILE)} bytes')
