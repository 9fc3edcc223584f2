"""hpo4dl 0.1.0, the published DyHPO, through its Tuner. On a table, its 1000 samples stand for the nearest rows.

Its DyHPO maximizes whatever is asked, so it is given the negative loss. A value that is not finite is returned as it
is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

REQUIREMENTS = [
    'torch==2.13.0 gpytorch==1.15.2 numpy==1.26.4 pandas==3.0.6 scikit-learn==1.9.1 ConfigSpace==1.2.2 '
    'onnxruntime==1.32.0',
    '--no-deps hpo4dl==0.1.0',
]


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    sign = -1 if problem.minimize else 1

    def objective_function(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> list[dict]:
        values = training(configuration, epoch)
        return [{'epoch': i + 1, 'metric': sign * float(values[i])} for i in range(previous_epoch, epoch)]

    make(objective_function, problem, seed, training.epochs).run()


def after(problem: Any, lengths: list[int]) -> Callable[[], None]:
    """The optimizer, told the first `lengths` epochs of its first samples: a call is a decision, and what follows.

    It does not fit as long as it believes that it still starts. Then it only refines its fit, 50 steps at a time, which
    is what it does in a race, but for its first ten fits of 1000 steps each.
    """
    tuner = make(lambda *_: None, problem, 0, 10**6)
    optimizer, sign = tuner.surrogate, -1 if problem.minimize else 1

    def tell(number: int, epoch: int) -> None:
        configuration = tuner.configuration_manager.get_configuration(configuration_id=number)
        metric = sign * float(problem.curve(configuration)[epoch - 1])
        optimizer.observe([{'configuration_id': number, 'epoch': epoch, 'metric': metric, 'time': 0.0}])

    def step() -> None:
        (number,), (epoch,) = optimizer.suggest()
        tell(number, epoch)

    optimizer.surrogate_config['nr_epochs'] = 1
    *before, last = [(number, epoch + 1) for number, length in enumerate(lengths) for epoch in range(length)]
    for number, epoch in before:
        tell(number, epoch)
    optimizer.initial_random_index = len(optimizer.init_conf_indices)
    tell(*last)
    optimizer.model.restart = False
    return step


def make(objective_function: Any, problem: Any, seed: int, epochs: int) -> Any:
    from hpo4dl.tuner import Tuner

    return Tuner(
        objective_function=objective_function,
        configuration_space=problem.space,
        max_epochs=problem.max_epochs,
        max_budget=epochs,
        optimizer='dyhpo',
        seed=seed,
        num_configurations=1000,
        output_path='results',
        storage_path='storage',
    )
