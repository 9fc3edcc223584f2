"""Optuna: TPE with the Hyperband pruner, an epoch at a time. On a table, a suggestion stands for the nearest row."""

from __future__ import annotations

from typing import Any

REQUIREMENTS = ['optuna==5.0.0 numpy==2.4.6 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import optuna
    import tabular
    from ConfigSpace import CategoricalHyperparameter, OrdinalHyperparameter, UniformIntegerHyperparameter

    def suggested(trial: optuna.Trial, hp: Any) -> Any:
        if isinstance(hp, CategoricalHyperparameter):
            return trial.suggest_categorical(hp.name, list(hp.choices))
        if isinstance(hp, OrdinalHyperparameter):
            return hp.sequence[trial.suggest_int(hp.name, 0, len(hp.sequence) - 1)]
        suggest = trial.suggest_int if isinstance(hp, UniformIntegerHyperparameter) else trial.suggest_float
        return suggest(hp.name, hp.lower, hp.upper, log=hp.log)

    def objective(trial: optuna.Trial) -> float:
        configuration: dict[str, Any] = {}
        for name, hp in problem.space.items():
            if tabular.is_active(problem.space, name, configuration):
                configuration[name] = suggested(trial, hp)
        for epoch in range(1, problem.max_epochs + 1):
            loss = float(training.losses(configuration, epoch)[-1])
            trial.report(loss, epoch)  # NaN is pruned
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=problem.max_epochs, reduction_factor=3)
    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner).optimize(objective)
