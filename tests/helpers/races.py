"""A race of one hyperparameter, as short as can be: with asha, where the optimizer does not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from hpo4dl import Tuner

NAMES = ['dyhpo', 'hyperband', 'asha', 'random']


def space() -> ConfigurationSpace:
    return ConfigurationSpace({'x': (-5.0, 10.0)})


def tune(folder: Path, objective: Callable[..., Any], **arguments: Any) -> Tuner:
    settings = {'max_epochs': 9, 'max_budget': 40, 'minimize': True, 'seed': 0, 'num_configurations': 30}
    settings |= {'configuration_space': space(), 'optimizer': 'asha', 'output_path': folder, 'progress': False}
    return Tuner(objective, **(settings | arguments))
