"""What each hyperparameter contributed to the metric (fANOVA, Hutter et al. 2014; the extra `optuna`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import HPO4DLError
from ..integrations.extras import import_extra
from ..text import escape
from .export import create_study, distribution, study_trial
from .run import Run
from .text import plural

MIN_TRIALS = 10
"""Number of trials that importances need."""
SHARE = 0.2
"""Of all trials, that are to have reached the epoch that is chosen: later ones hold promising trials alone."""


@dataclass(frozen=True)
class Importance:
    """Shares of the metric's variance at one epoch."""

    epoch: int
    trials: int
    """Number of trials with a metric at that epoch."""
    shares: dict[str, float]
    """By hyperparameter, the largest first."""
    left_out: list[str]
    """Hyperparameters that cannot be assessed: conditional ones, which not all of these trials have."""


def importance(run: Run, epoch: int | None = None) -> Importance:
    """Compute each hyperparameter's share of the metric's variance at one epoch.

    Only trials with a metric at that epoch count: metrics of different epochs differ more by epoch than by
    configuration. Conditional hyperparameters are left out, because fANOVA needs their values in all trials.

    Args:
        run: what `read_run` returned.
        epoch: default: the last one that a fifth of the trials, and ten at least, have reached.

    Raises:
        HPO4DLError: Optuna or scikit-learn is not installed, or there are too few trials.
    """
    optuna = import_extra('optuna', 'optuna')
    trials = [trial for trial in run.trials.values() if trial.metrics]
    if epoch is None:
        least, epochs = (
            max(SHARE * len(trials), MIN_TRIALS),
            sorted({e for t in trials for e in t.metrics}, reverse=True),
        )
        epoch = next((e for e in epochs if sum(e in trial.metrics for trial in trials) >= least), 1)
    reached = [trial for trial in trials if epoch in trial.metrics]
    if len(reached) < MIN_TRIALS:
        raise HPO4DLError(f'importances need {MIN_TRIALS} trials at least; at epoch {epoch} there are {len(reached)}')
    study = create_study()
    distributions = {h.name: distribution(h, run) for h in run.hyperparameters}
    study.add_trials([study_trial(trial, trial.metrics[epoch], 'COMPLETE', distributions) for trial in reached])
    import_extra('sklearn', 'optuna')  # fANOVA's forest
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    return Importance(epoch, len(reached), shares, [h.name for h in run.hyperparameters if h.name not in shares])


def importance_text(found: Importance) -> str:
    """Return importances as text."""
    lines = [f'importance for the metric at epoch {found.epoch} (fANOVA on {plural(found.trials, "trial")})']
    lines += [f'  {share:6.1%}  {escape(name)}' for name, share in found.shares.items()]
    why = 'cannot be assessed: conditional, or of a single value'
    lines += [f'       -  {escape(name)}: {why}' for name in found.left_out]
    return '\n'.join([*lines, '  (--importance EPOCH looks at another one; fewer trials have come to later ones)'])
