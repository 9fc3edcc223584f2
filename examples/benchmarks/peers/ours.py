"""hpo4dl, as it is installed where compare.py runs, through ask and tell. A table's rows are its `candidates`."""

from __future__ import annotations

import functools
from typing import Any

REQUIREMENTS: list[str] = []


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    optimizer = ask_and_tell(tuner, problem, seed)
    while (trial := optimizer.ask()) is not None:
        values = training(trial.configuration, trial.epoch)
        optimizer.tell(trial, values[trial.previous_epoch :].tolist())


def ask_and_tell(tuner: str, problem: Any, seed: int) -> Any:
    """The optimizer itself."""
    import hpo4dl

    make = {
        'dyhpo': hpo4dl.DyHPO,
        'dyhpo-next': functools.partial(hpo4dl.DyHPO, horizon='next'),
        'asha': hpo4dl.ASHA,
        'hyperband': hpo4dl.Hyperband,
        'random': hpo4dl.RandomSearch,
    }[tuner]
    return make(problem.space, problem.max_epochs, minimize=problem.minimize, seed=seed, candidates=problem.candidates)
