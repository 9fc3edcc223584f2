"""One race of one tuner on one problem, for ours and for the peers alike.

Each module of this package drives one library through its public interface, in a virtual environment of its own:

    REQUIREMENTS                            arguments of `pip install`, one call each; empty for our own
    race(tuner, problem, seed, training)    tunes until `training` raises Spent

`python -m peers TUNER PROBLEM SEED EPOCHS FILE [DATA]` runs one race there. Libraries are therefore imported in `race`.
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


class Spent(BaseException):
    """The epochs are used up. No Exception, so that no library takes it for a trial that failed."""


class Training:
    """Trains configurations, goes on where each was left, and counts the epochs that are new.

    On a problem that is a table, a configuration stands for the nearest row, in the coordinates of `tabular.unit`.
    """

    def __init__(self, problem: problems.Problem, epochs: int) -> None:
        self.problem = problem
        self.epochs = epochs
        self.values: list[float] = []
        """One value for each epoch paid, in the order of paying."""
        self.observations: list[int] = []
        """How many values there were at each decision."""
        self.seconds: list[float] = []
        """From the end of a training to the start of the next; NaN for the first decision, which is also set-up."""
        self._trained: dict[object, int] = {}
        self._rows = np.array([tabular.unit(problem.space, row) for row in problem.candidates or []])
        self._since = np.nan

    def __call__(self, configuration: Mapping[str, Any], epoch: int) -> np.ndarray:
        """Train up to that epoch; returns the values of epochs 1, ..., epoch. Raises Spent when no epoch is left.

        Decisions that train nothing new are free, but an end is put to them.
        """
        self.seconds.append(time.perf_counter() - self._since)
        self.observations.append(len(self.values))
        if len(self._rows):
            row = int(((self._rows - tabular.unit(self.problem.space, configuration)) ** 2).sum(axis=1).argmin())
            configuration = self.problem.candidates[row]
        key = tuple(configuration.get(name) for name in self.problem.space)
        curve = self.problem.curve(configuration)
        self.values += map(float, curve[self._trained.get(key, 0) : epoch])
        self._trained[key] = max(epoch, self._trained.get(key, 0))
        if len(self.values) >= self.epochs or len(self.seconds) >= 20 * self.epochs:
            del self.values[self.epochs :]
            raise Spent
        self._since = time.perf_counter()
        return curve[:epoch]

    def losses(self, configuration: Mapping[str, Any], epoch: int) -> np.ndarray:
        """The same, as losses to minimize: one minus an accuracy."""
        values = self(configuration, epoch)
        return values if self.problem.minimize else 1 - values


def run(tuner: str, name: str, seed: int, epochs: int, file: Path, data: Path | None) -> None:
    """One race; its record appears as `file` when it is complete."""
    problem = problems.load(name, data)
    training = Training(problem, epochs)
    try:
        importlib.import_module(f'peers.{TUNERS[tuner]}').race(tuner, problem, seed, training)
    except Spent:
        pass
    values = training.values + [np.nan] * (epochs - len(training.values))
    record = {
        'values': values,
        'regret': problem.regret(np.array(values)).tolist(),
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
