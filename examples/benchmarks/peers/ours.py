"""hpo4dl, as it is installed where compare.py runs, through ask and tell. A table's rows are its `candidates`.

dyhpo-cost is told what each epoch costs, and weighs it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

REQUIREMENTS: list[str] = []


def race(tuner: str, problem: Any, seed: int, training: Any, **arguments: Any) -> None:
    optimizer = ask_and_tell(tuner, problem, seed, **arguments)
    while (trial := optimizer.ask()) is not None:
        values, new = training(trial.configuration, trial.epoch), slice(trial.previous_epoch, trial.epoch)
        told = {'costs': problem.cost(trial.configuration)[new].tolist()} if tuner == 'dyhpo-cost' else {}
        optimizer.tell(trial, values[new].tolist(), **told)


def ask_and_tell(tuner: str, problem: Any, seed: int, **arguments: Any) -> Any:
    """The optimizer itself; `arguments` are its own, beside those that the problem gives."""
    import hpo4dl

    make = {
        'dyhpo': hpo4dl.DyHPO,
        'dyhpo-cost': hpo4dl.DyHPO,
        'dyhpo-next': functools.partial(hpo4dl.DyHPO, horizon='next'),
        'asha': hpo4dl.ASHA,
        'hyperband': hpo4dl.Hyperband,
        'random': hpo4dl.RandomSearch,
    }[tuner]
    arguments = {'minimize': problem.minimize, 'candidates': problem.candidates, **arguments}
    return make(problem.space, problem.max_epochs, seed=seed, **arguments)


def after(problem: Any, lengths: list[int]) -> Callable[[], None]:
    """DyHPO, told the first `lengths` epochs of random configurations: a call is a decision, and what follows."""
    from hpo4dl import Trial

    optimizer = ask_and_tell('dyhpo', problem, 0)

    def tell(trial: Trial) -> None:
        optimizer.tell(trial, problem.curve(trial.configuration)[trial.previous_epoch : trial.epoch].tolist())

    for number, length in enumerate(lengths):
        configuration = optimizer.space.from_unit(optimizer.space.draw(np.random.default_rng(number), set()))
        for epoch in range(length):
            trial = Trial(number, configuration, epoch, epoch + 1)
            optimizer.replay(trial)
            tell(trial)
    return lambda: tell(optimizer.ask())
