"""Syne Tune's schedulers that pause and resume: ASHA, MOBSTER, Hyper-Tune, DyHPO, called as its own Tuner calls them.

Settings are the library's own, one bracket for Hyper-Tune among them. On a table they are restricted to its rows
(`restrict_configurations`).
"""

from __future__ import annotations

from typing import Any

REQUIREMENTS = ['syne-tune[gpsearchers]==0.13.0 numpy==1.26.4 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    import datetime

    import numpy as np
    from ConfigSpace import UniformIntegerHyperparameter
    from syne_tune import config_space as cs
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.baselines import ASHA, MOBSTER, DyHPO, HyperTune
    from syne_tune.optimizer.scheduler import SchedulerDecision

    space: dict[str, Any] = {'max_epochs': problem.max_epochs}
    for hp in problem.space.values():
        integer, log = isinstance(hp, UniformIntegerHyperparameter), hp.log
        domain = (cs.lograndint if log else cs.randint) if integer else (cs.loguniform if log else cs.uniform)
        space[hp.name] = domain(hp.lower, hp.upper)
    options: dict[str, Any] = {'debug_log': False}
    if problem.candidates:
        options['restrict_configurations'] = [dict(candidate) for candidate in problem.candidates]
        if tuner != 'syne-asha':
            options['skip_local_optimization'] = True
    make = {'syne-asha': ASHA, 'syne-mobster': MOBSTER, 'syne-hypertune': HyperTune, 'syne-dyhpo': DyHPO}[tuner]
    scheduler = make(
        space,
        metric='loss',
        mode='min',
        resource_attr='epoch',
        max_resource_attr='max_epochs',
        grace_period=1,
        random_seed=seed,
        search_options=options,
        type='dyhpo' if tuner == 'syne-dyhpo' else 'promotion',
    )
    trials: list[Trial] = []
    reached: dict[int, int] = {}
    while (suggestion := scheduler.suggest(len(trials))) is not None:
        if suggestion.spawn_new_trial_id:
            trial = Trial(len(trials), suggestion.config, datetime.datetime.now())
            trials.append(trial)
            scheduler.on_trial_add(trial)
        else:
            trial = trials[suggestion.checkpoint_trial_id]
        decision = SchedulerDecision.CONTINUE
        while decision == SchedulerDecision.CONTINUE:
            epoch = reached[trial.trial_id] = reached.get(trial.trial_id, 0) + 1
            loss = float(training.losses({name: trial.config[name] for name in problem.space}, epoch)[-1])
            if not np.isfinite(loss):
                scheduler.on_trial_error(trial)
                break
            result = {'loss': loss, 'epoch': epoch}
            decision = scheduler.on_trial_result(trial, result)
            if epoch == problem.max_epochs:
                scheduler.on_trial_complete(trial, result)
                break
        else:
            scheduler.on_trial_remove(trial)
