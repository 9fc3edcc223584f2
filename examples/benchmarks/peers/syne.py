"""Syne Tune's schedulers that pause and resume: ASHA, MOBSTER, Hyper-Tune, DyHPO, called as its own Tuner calls them.

Settings are the library's own, one bracket for Hyper-Tune among them. On a table they are restricted to its rows
(`restrict_configurations`). Its spaces are flat: a hyperparameter that is inactive has its default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import tabular

REQUIREMENTS = ['syne-tune[gpsearchers]==0.13.0 numpy==1.26.4 ConfigSpace==1.2.2 onnxruntime==1.32.0']


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    scheduler = ask_and_tell(tuner, problem, seed)
    while (step := scheduler.ask()) is not None:
        scheduler.tell(step, training(step.configuration, step.epoch)[step.previous_epoch :])


def ask_and_tell(tuner: str, problem: Any, seed: int) -> AskAndTell:
    from ConfigSpace import CategoricalHyperparameter, OrdinalHyperparameter, UniformIntegerHyperparameter
    from syne_tune import config_space as cs
    from syne_tune.optimizer.baselines import ASHA, MOBSTER, DyHPO, HyperTune

    space: dict[str, Any] = {'max_epochs': problem.max_epochs}
    for hp in problem.space.values():
        if isinstance(hp, CategoricalHyperparameter):
            space[hp.name] = cs.choice(list(hp.choices))
        elif isinstance(hp, OrdinalHyperparameter):
            space[hp.name] = cs.ordinal(list(hp.sequence), kind='equal')
        else:
            integer, log = isinstance(hp, UniformIntegerHyperparameter), hp.log
            domain = (cs.lograndint if log else cs.randint) if integer else (cs.loguniform if log else cs.uniform)
            space[hp.name] = domain(hp.lower, hp.upper)
    options: dict[str, Any] = {'debug_log': False}
    if problem.candidates:
        defaults = {hp.name: hp.default_value for hp in problem.space.values()}
        options['restrict_configurations'] = [{**defaults, **candidate} for candidate in problem.candidates]
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
    return AskAndTell(scheduler, problem)


class Step(NamedTuple):
    id: int
    configuration: dict[str, Any]
    previous_epoch: int
    epoch: int


class AskAndTell:
    """A scheduler, asked epoch by epoch: a trial that it does not pause is what is asked for next."""

    def __init__(self, scheduler: Any, problem: Any) -> None:
        self.scheduler = scheduler
        self.problem = problem
        self._trials: list[Any] = []
        self._reached: dict[int, int] = {}
        self._going_on: list[int] = []

    def ask(self) -> Step | None:
        from syne_tune.backend.trial_status import Trial

        if self._going_on:
            return self._step(self._going_on.pop(0))
        suggestion = self.scheduler.suggest(len(self._trials))
        if suggestion is None:
            return None
        if not suggestion.spawn_new_trial_id:
            return self._step(suggestion.checkpoint_trial_id)
        trial = Trial(len(self._trials), suggestion.config, datetime.now())
        self._trials.append(trial)
        self.scheduler.on_trial_add(trial)
        return self._step(trial.trial_id)

    def tell(self, step: Step, values: Sequence[float]) -> None:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        trial, loss = self._trials[step.id], float(values[0] if self.problem.minimize else 1 - values[0])
        self._reached[step.id] = step.epoch
        if not math.isfinite(loss):
            self.scheduler.on_trial_error(trial)
            return
        result = {'loss': loss, 'epoch': step.epoch}
        decision = self.scheduler.on_trial_result(trial, result)
        if step.epoch == self.problem.max_epochs:
            self.scheduler.on_trial_complete(trial, result)
        elif decision == SchedulerDecision.CONTINUE:
            self._going_on.append(step.id)
        else:
            self.scheduler.on_trial_remove(trial)

    def _step(self, trial_id: int) -> Step:
        config, reached = self._trials[trial_id].config, self._reached.get(trial_id, 0)
        space = self.problem.space
        active = {name: config[name] for name in space if tabular.is_active(space, name, config)}
        return Step(trial_id, active, reached, reached + 1)
