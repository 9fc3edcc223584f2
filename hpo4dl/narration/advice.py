"""Beginners' mistakes, noticed from results while they cost little: each is told once, with its remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..records.state import RunState, TrialRecord
from ..text import escape, truncate
from ..trial import Trial

CHECK = 'hpo4dl.check_objective(objective_function, configuration_space) tests it'

NOTHING_SAVED = (
    'trial {trial} was trained on from epoch {epoch}, but its calls leave its folder `checkpoint_path` empty. Unless '
    'the function keeps its network elsewhere, each call begins from scratch: save into the folder at the end of each '
    'call, and load from it where previous_epoch > 0. ' + CHECK
)
LOAD_WITHOUT_SAVE = (
    'trial {trial} could not go on from epoch {epoch}: its folder `checkpoint_path` is empty, because the call before '
    'saved nothing into it (hpo4dl.save_checkpoint, or what the function loads). ' + CHECK
)
LOAD_AT_FIRST = (
    'trial {trial} looked for a file in its folder `checkpoint_path` in its first call, when that is empty: load only '
    'where previous_epoch > 0'
)
CONSTANT = (
    'the metrics of {n} trials are the same after every epoch: does the function train? It is to train on from '
    '`previous_epoch` to `epoch`, and to return the metric after each. ' + CHECK
)
RESTARTS = (
    'in {n} calls that were to train on, the metric began again where the trial had begun at epoch 1: load what the '
    'call before saved, where previous_epoch > 0. ' + CHECK
)
WRONG_WAY = (
    'of {n} trials, the metric of {m} became worse while they were trained (minimize={minimize}: {direction} is '
    'better). If it is meant the other way round, stop and give {other}'
)

BY_NAME = (
    'the metric is {name!r}, of which {usual} is usually better, and minimize={minimize}: {direction} is better. '
    'If it is meant the other way round, stop and give {other}'
)
LARGER = {'accuracy', 'acc', 'auc', 'auroc', 'f1', 'precision', 'recall', 'iou', 'miou', 'dice', 'bleu', 'r2', 'reward'}
SMALLER = {'loss', 'error', 'err', 'mse', 'rmse', 'mae', 'nll', 'perplexity', 'ppl', 'wer', 'cer', 'fid', 'regret'}
"""Words of metrics of which larger, and smaller ones are better."""

ENOUGH = 3
"""Trials, or calls, of which one can be an accident."""
TO_JUDGE = 8
"""Trials by whose direction `minimize` is judged."""


class Advisor:
    """Looks at each result of a race, and yields what should be told, each piece of advice once."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._empty: set[int] = set()
        """Trials whose last call left nothing in their folder."""
        self._constant: set[int] = set()
        self._varies = False
        self._restarts = 0
        self._went_on = 0
        self._directions: dict[int, bool] = {}
        """By trial: whether the metric became worse from its first epoch to its last one then."""

    def named(self, names: Iterable[str], minimize: bool) -> Iterator[str]:
        """What is to be told where the metric has these names."""
        for name in names:
            larger = is_larger_better(name)
            if larger is minimize:
                facts = {'name': truncate(escape(name), 60), 'usual': 'larger' if larger else 'smaller'}
                yield from self._once(BY_NAME, **facts, **about_direction(minimize))

    def look(self, step: Trial, failed: str | None, state: RunState) -> Iterator[str]:
        """Yield what is to be told after a step; `failed`: why its trial failed, if it did."""
        trial, checkpoint, best = state.trials[step.id], state.checkpoints.get(step.id), state.incumbent
        if best is not None and len(state.trials) == 1:  # the metric's other name: an entry beside it with its value
            yield from self.named([name for name, value in best.info.items() if value == best.metric], state.minimize)
        facts = {'trial': step.id, 'epoch': step.previous_epoch}
        if failed is not None:
            if step.previous_epoch and step.id in self._empty:
                yield from self._once(LOAD_WITHOUT_SAVE, **facts)
            elif not step.previous_epoch and 'No such file' in failed and re.search(r'trial_\d+.attempt_\d+', failed):
                yield from self._once(LOAD_AT_FIRST, **facts)
            return
        self._empty.discard(step.id)
        if checkpoint is not None and checkpoint.size == 0:
            self._empty.add(step.id)
        if step.previous_epoch and step.id in self._empty:
            yield from self._once(NOTHING_SAVED, **facts)
        yield from self._about_curves(step, trial, state.minimize)

    def _about_curves(self, step: Trial, trial: TrialRecord, minimize: bool) -> Iterator[str]:
        curve = trial.metrics
        if len(curve) >= 3:
            self._varies |= len({*curve.values()}) > 1
            self._constant.add(trial.id)
            if len(self._constant) >= ENOUGH and not self._varies:
                yield from self._once(CONSTANT, n=len(self._constant))
        if len(curve) < 2 or len({*curve.values()}) == 1:
            return
        first, last = (curve[epoch] for epoch in (min(curve), max(curve)))
        if len(self._directions) < TO_JUDGE:
            self._directions.setdefault(trial.id, last > first if minimize else last < first)
            worse = sum(self._directions.values())
            if len(self._directions) == TO_JUDGE and worse >= TO_JUDGE - 1:
                yield from self._once(WRONG_WAY, n=TO_JUDGE, m=worse, **about_direction(minimize))
        before, after = curve.get(step.previous_epoch), curve.get(step.previous_epoch + 1)
        if 1 in curve and step.previous_epoch > 1 and before is not None and after is not None:
            again = abs(after - curve[1]) <= 0.1 * abs(before - curve[1])
            self._restarts, self._went_on = self._restarts + again, self._went_on + (not again)
            if self._restarts >= ENOUGH > self._went_on:
                yield from self._once(RESTARTS, n=self._restarts)

    def _once(self, text: str, **facts: Any) -> Iterator[str]:
        if text not in self._told:
            self._told.add(text)
            yield text.format(**facts)


def about_direction(minimize: bool) -> dict[str, Any]:
    """Return what texts say of the run's direction, and how the other one is given, in Python and to `hpo4dl run`."""
    other = 'minimize=False (no --minimize)' if minimize else 'minimize=True (--minimize)'
    return {'minimize': minimize, 'direction': 'smaller' if minimize else 'larger', 'other': other}


def is_larger_better(name: str) -> bool | None:
    """Whether larger values of a metric are better, by its name alone; None: the name does not tell."""
    if re.match(r'\W*(-|1\s*-|neg|minus|one)', name.lower()):  # '1 - accuracy', 'neg_loss'
        return None
    split = re.sub('([a-z])([A-Z])', r'\1 \2', name)  # valLoss
    words = set(re.findall('[a-z]+[0-9]?', f'{name} {split}'.lower()))
    larger, smaller = bool(words & LARGER), bool(words & SMALLER)
    return None if larger == smaller else larger
