"""hpo4dl 0.1.0, the published DyHPO, through its Tuner. On a table, its 1000 samples stand for the nearest rows.

Its DyHPO maximises whatever is asked, so that a loss is turned here; a value that is not finite is returned as it is.
"""

from __future__ import annotations

from typing import Any

REQUIREMENTS = [
    'torch==2.13.0 gpytorch==1.15.2 numpy==1.26.4 pandas==3.0.6 scikit-learn==1.9.1 ConfigSpace==1.2.2 '
    'onnxruntime==1.32.0',
    '--no-deps hpo4dl==0.1.0',
]


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    from hpo4dl.tuner import Tuner

    sign = -1 if problem.minimize else 1

    def objective_function(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> list[dict]:
        values = training(configuration, epoch)
        return [{'epoch': i + 1, 'metric': sign * float(values[i])} for i in range(previous_epoch, epoch)]

    Tuner(
        objective_function=objective_function,
        configuration_space=problem.space,
        max_epochs=problem.max_epochs,
        max_budget=training.epochs,
        optimizer='dyhpo',
        seed=seed,
        num_configurations=1000,
        output_path='results',
        storage_path='storage',
    ).run()
