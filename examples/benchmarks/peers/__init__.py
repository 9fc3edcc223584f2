"""One race of one tuner on one problem, for ours and for the peers alike.

Each module of this package drives one library through its public interface, in a virtual environment of its own:

    REQUIREMENTS                            arguments of `pip install`, one call each; empty for our own
    race(tuner, problem, seed, training)    tunes until `training` raises Spent

`python -m peers TUNER PROBLEM SEED BUDGET FILE [DATA]` runs one race there. Libraries are therefore imported in `race`.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import problems
import tabular

from peers import ablations

TUNERS = {
    'dyhpo': 'ours',
    'dyhpo-cost': 'ours',
    'dyhpo-next': 'ours',
    'asha': 'ours',
    'hyperband': 'ours',
    'random': 'ours',
    'hpo4dl-0.1.0': 'hpo4dl_published',
    'optuna': 'optuna_tpe',
    'syne-asha': 'syne',
    'syne-mobster': 'syne',
    'syne-hypertune': 'syne',
    'syne-dyhpo': 'syne',
    'smac': 'smac_hyperband',
    'dehb': 'dehb_',
    **dict.fromkeys(ablations.LEFT_OUT, 'ablations'),
}
"""Tuners by the module that drives them."""
MOST_EPOCHS = 5
"""A race of a given cost ends at the latest after so many times the epochs of as many full trainings."""


class Spent(BaseException):
    """The epochs are used up. No Exception, so that no library takes it for a trial that failed."""


class Training:
    """Trains configurations, goes on where each was left, and counts the epochs that are new.

    On a problem that is a table, a configuration stands for the nearest row, in the coordinates of `tabular.unit`.
    """

    def __init__(self, problem: problems.Problem, epochs: int, cost: float = np.inf) -> None:
        self.problem = problem
        self.epochs = epochs
        self.cost = cost
        """Full trainings whose mean cost may be spent."""
        self.values: list[float] = []
        """One value for each epoch paid, in the order of paying."""
        self.costs: list[float] = []
        """What each cost, in full trainings; empty where the benchmark does not say."""
        self.tests: list[float] = []
        """The value of the independent metric at each; empty where there is none."""
        self.observations: list[int] = []
        """How many values there were at each decision."""
        self.seconds: list[float] = []
        """From the end of a training to the start of the next; NaN for the first decision, which is also set-up."""
        self._trained: dict[object, int] = {}
        self._rows = np.array([tabular.unit(problem.space, row) for row in problem.candidates or []])
        self._since = np.nan

    def __call__(self, configuration: Mapping[str, Any], epoch: int) -> np.ndarray:
        """Train up to that epoch; returns the values of epochs 1, ..., epoch. Raises Spent when nothing is left.

        Decisions that train nothing new are free, but an end is put to them.
        """
        self.seconds.append(time.perf_counter() - self._since)
        self.observations.append(len(self.values))
        if len(self._rows):
            row = int(((self._rows - tabular.unit(self.problem.space, configuration)) ** 2).sum(axis=1).argmin())
            configuration = self.problem.candidates[row]
        key = tuple(configuration.get(name) for name in self.problem.space)
        curve = self.problem.curve(configuration)
        new = slice(self._trained.get(key, 0), epoch)
        self.values += map(float, curve[new])
        if self.problem.cost is not None:
            self.costs += map(float, self.problem.cost(configuration)[new] / self.problem.full_cost)
        if self.problem.test is not None:
            self.tests += map(float, self.problem.test(configuration)[new])
        self._trained[key] = max(epoch, self._trained.get(key, 0))
        if self.is_spent() or len(self.values) >= self.epochs or len(self.seconds) >= 20 * self.epochs:
            del self.values[self.epochs :], self.costs[self.epochs :], self.tests[self.epochs :]
            raise Spent
        self._since = time.perf_counter()
        return curve[:epoch]

    def is_spent(self) -> bool:
        """Whether the epochs, or the cost, that may be spent are."""
        return sum(self.costs) >= self.cost if np.isfinite(self.cost) else len(self.values) >= self.epochs

    def losses(self, configuration: Mapping[str, Any], epoch: int) -> np.ndarray:
        """The same, as losses to minimize: one minus an accuracy."""
        values = self(configuration, epoch)
        return values if self.problem.minimize else 1 - values


def run(tuner: str, name: str, seed: int, budget: str, file: Path, data: Path | None) -> None:
    """One race; its record appears as `file` when it is complete.

    Args:
        budget: a number of epochs, as in '500'; or of full trainings, whose mean cost may be spent, as in 'cost16'.
    """
    problem = problems.load(name, data)
    if budget.startswith('cost'):
        if problem.cost is None:
            raise ValueError('the benchmark does not say what an epoch costs')
        cost = float(budget.removeprefix('cost'))
        training = Training(problem, round(MOST_EPOCHS * cost * problem.max_epochs), cost)
    else:
        training = Training(problem, int(budget))
    try:
        importlib.import_module(f'peers.{TUNERS[tuner]}').race(tuner, problem, seed, training)
    except Spent:
        pass
    values = np.array(training.values)
    record = {
        'values': values.tolist(),
        'regret': problem.regret(values).tolist(),
        'cost': np.cumsum(training.costs).tolist(),
        'test': problem.test_regret(values, training.tests).tolist() if training.tests else [],
        'ended': not training.is_spent(),
        'observations': training.observations[1:],
        'seconds': training.seconds[1:],
    }
    write(record, file)


def write(record: dict[str, Any], file: Path) -> None:
    """The record as JSON; `file` is complete or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.with_suffix('.tmp')
    torn.write_text(json.dumps(record))
    os.replace(torn, file)
