"""The first decisions of every optimizer on one made-up problem. `python tests/helpers/decisions.py` writes them anew.

Run it with OMP_NUM_THREADS=1, and only where decisions are meant to change; say so in the CHANGELOG.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ConfigSpace
import numpy as np
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
from scipy.stats import qmc

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
    space.add([*parts, EqualsCondition(momentum, optimizer, 'sgd'), ForbiddenAndConjunction(one, other)])
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


def sobol() -> str:
    """Where a Sobol sequence begins, by which DyHPO spreads its first trials: it changed with SciPy's versions."""
    return str(qmc.Sobol(2, seed=np.random.default_rng(5)).random(1)[0, 0].hex())


def versions() -> dict[str, str]:
    """What the last bits of a decision depend on."""
    told = {module.__name__: str(module.__version__) for module in (ConfigSpace, np, scipy, torch)}
    capability = getattr(getattr(torch.backends, 'cpu', None), 'get_cpu_capability', None)  # torch 2.0
    return told | {'processor': capability() if capability else 'unknown'}


def write() -> None:
    """Write the file anew, one line a decision."""
    races = []
    for name, race in RACES.items():
        lines = ',\n'.join(f'   {json.dumps(decision)}' for decision in decisions(*race))
        races.append(f'  {json.dumps(name)}: [\n{lines}\n  ]')
    head = f' "sobol": "{sobol()}",\n "versions": {json.dumps(versions())},\n "decisions":'
    body = ',\n'.join(races)
    FILE.write_text(f'{{\n{head} {{\n{body}\n }}\n}}\n', encoding='utf-8')


if __name__ == '__main__':
    torch.set_num_threads(1)
    write()
    print(f'{FILE} is written, with {os.path.getsize(FILE)} bytes')
