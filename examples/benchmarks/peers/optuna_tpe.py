"""Optuna: TPE with the Hyperband pruner, an epoch at a time. On a table, a suggestion stands for the nearest row."""

from __future__ import annotations

from typing import Any

REQUIREMENTS = ['optuna==5.0.0 numpy==2.4.6 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import optuna
    from ConfigSpace import UniformIntegerHyperparameter

    def objective(trial: optuna.Trial) -> float:
        configuration = {}
        for hp in problem.space.values():
            suggest = trial.suggest_int if isinstance(hp, UniformIntegerHyperparameter) else trial.suggest_float
            configuration[hp.name] = suggest(hp.name, hp.lower, hp.upper, log=hp.log)
        for epoch in range(1, problem.max_epochs + 1):
            loss = float(training.losses(configuration, epoch)[-1])
            trial.report(loss, epoch)  # NaN is pruned
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=problem.max_epochs, reduction_factor=3)
    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner).optimize(objective)
