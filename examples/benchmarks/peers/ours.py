"""hpo4dl, as it is installed where compare.py runs, through ask and tell. A table's rows are its `candidates`."""

from __future__ import annotations

from typing import Any

REQUIREMENTS: list[str] = []


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import hpo4dl

    optimizers = {'dyhpo': hpo4dl.DyHPO, 'asha': hpo4dl.ASHA, 'hyperband': hpo4dl.Hyperband, 'random': hpo4dl.RandomSearch}
    name, _, horizon = tuner.partition('-')
    optimizer = optimizers[name](
        problem.space,
        problem.max_epochs,
        minimize=problem.minimize,
        seed=seed,
        candidates=problem.candidates,
        **({'horizon': horizon} if horizon else {}),
    )
    while (trial := optimizer.ask()) is not None:
        values = training(trial.configuration, trial.epoch)
        optimizer.tell(trial, values[trial.previous_epoch :].tolist())
