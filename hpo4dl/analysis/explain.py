"""Explain one decision of DyHPO: its best candidates, their expected improvements and predicted learning curves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from ..checks import check_count, check_path
from ..errors import ArgumentError, HPO4DLError
from ..optimizers.acquisition import Candidates
from ..optimizers.dyhpo import DyHPO
from ..optimizers.protocol import Optimizer
from ..records.run_folder import read_configuration_space
from ..records.state import FINISH, RESERVE
from ..trial import Array, Trial
from .replay import Decision, decisions, who_decided
from .text import format_configuration, format_table, plural, wrapped

QUANTILES = (0.05, 0.5, 0.95)
WORDS = (
    'judged at  the epoch that the decision looked ahead to for this trial; it draws anew how far it looks',
    'predicted  the metric expected there, and the range that it is in with 90% probability',
    'gain       expected improvement there on "to be improved on", as a share of the largest: what decides',
    'margin     how much better than the best so far is asked for, drawn anew for each decision',
)
"""What the words of an explanation mean."""
MAX_NEW = 2
"""Number of new configurations among the options at most."""
NOT_WEIGHED = {
    None: 'the race started, or a configuration that is spread evenly had its turn',
    RESERVE: 'no trial was complete, and the rest of the budget was kept to train the most promising one to the end',
    FINISH: 'the race was over, and the most promising trials were to be finished',
}
"""By who decided, see `RunningStep.by`."""


@dataclass(frozen=True)
class Option:
    """A candidate of a decision."""

    trial: int | None
    """None: a new configuration."""
    configuration: dict[str, Any]
    values: dict[int, float]
    """Its metrics so far by epoch."""
    target_epoch: int
    """The epoch at which its expected improvement was computed."""
    relative_ei: float
    """Expected improvement relative to the largest one; 1 is the chosen candidate."""
    epochs: list[int]
    forecast: Array
    """(3, n) predicted `QUANTILES` of the metric at the n epochs."""

    def name(self) -> str:
        return 'a new trial' if self.trial is None else f'trial {self.trial}'

    def at_horizon(self) -> Array:
        """Return the (3,) forecast for `target_epoch`."""
        quantiles: Array = self.forecast[:, self.epochs.index(self.target_epoch)]
        return quantiles


@dataclass(frozen=True)
class Explanation:
    """A decision of DyHPO."""

    step: int
    """The number of the decision, from 1."""
    chosen: Trial
    options: list[Option]
    """The best candidates, the largest expected improvement first; empty if the decision used no predictions."""
    paused: int = 0
    new: int = 0
    """Number of paused trials, and of new configurations, among the candidates."""
    best: float | None = None
    """The best metric before the decision."""
    by: str | None = None
    """Who decided, see `RunningStep.by`."""
    threshold: float | None = None
    """The threshold of the expected improvement: best metric and margin. None if each epoch has its own."""

    def not_weighed(self) -> str:
        """Return why there are no options, where there are none."""
        return f'nothing was weighed: {NOT_WEIGHED[self.by]}'


def explain(
    run_folder: str | os.PathLike[str],
    step: int | None = None,
    runners_up: int = 5,
    optimizer: Optimizer | None = None,
    configuration_space: ConfigurationSpace | None = None,
) -> Explanation:
    """Bring DyHPO to its state before a decision of a run, and return what it decided from. Nothing is written.

    Args:
        run_folder: the folder of the run, which may still be going on.
        step: which decision, from 1; default the last one that the optimizer took.
        runners_up: number of options beside the chosen one.
        optimizer, configuration_space: as in `replay`.

    Raises:
        ArgumentError: there is no such decision, or an argument cannot be used.
        HPO4DLError: the run's optimizer makes no predictions.
        JournalError: the journal cannot be read.
    """
    check_count('runners_up', runners_up, least=0)
    folder = Path(check_path('run_folder', run_folder))
    space = read_configuration_space(folder) if configuration_space is None else configuration_space
    taken = who_decided(folder)
    own = [number for number, by in enumerate(taken, 1) if by is None]
    wanted = max(own, default=len(taken)) if step is None else check_count('step', step)
    if not 1 <= wanted <= len(taken):
        raise ArgumentError('step', step, f'one of the {plural(len(taken), "decision")} of the run, from 1')
    for number, decision in enumerate(decisions(run_folder, optimizer, space), 1):
        if not isinstance(decision.optimizer, DyHPO):
            kind = type(decision.optimizer).__name__
            raise HPO4DLError(f'{run_folder}: {kind} predicts nothing that could explain its decisions, DyHPO does')
        if number == wanted:
            return _explained(number, decision, decision.optimizer, runners_up)
        decision.optimizer.replay(decision.wanted)
    raise AssertionError('the journal became shorter')


def _explained(step: int, decision: Decision, optimizer: DyHPO, runners_up: int) -> Explanation:
    chosen, by = decision.wanted, decision.by
    values = [value for curve in optimizer.curves.values() for value in curve.values]
    best = optimizer.signed(max(values)) if values else None
    candidates = optimizer.score() if by is None else None
    if candidates is None:
        return Explanation(step, chosen, [], best=best, by=by)
    log_ei = candidates.log_ei()
    order = np.argsort(-log_ei, kind='stable')
    relative = np.exp(log_ei - log_ei.max())
    is_new = order >= len(candidates.paused)
    order = order[~is_new | (np.cumsum(is_new) <= MAX_NEW)]  # many of these are near each other
    options = [_option(candidates, int(i), float(relative[i]), optimizer) for i in order[: runners_up + 1]]
    threshold = float(optimizer.metrics_of(candidates.threshold)[0]) if optimizer.horizon == 'random' else None
    paused, new = len(candidates.paused), len(candidates.points)
    return Explanation(step, chosen, options, paused, new, best, threshold=threshold)


def _option(candidates: Candidates, index: int, relative_ei: float, optimizer: DyHPO) -> Option:
    k, target_epoch = len(candidates.paused), int(candidates.target_epoch[index])
    curve = candidates.paused[index] if index < k else None
    point = candidates.points[index - k] if curve is None else curve.point
    configuration = optimizer.space.from_unit(point) if curve is None else curve.configuration
    reached = 0 if curve is None else curve.epoch
    epochs = sorted({target_epoch, *np.geomspace(reached + 1, optimizer.max_epochs, 25).round().astype(int).tolist()})
    forecast = optimizer.forecast(point if curve is None else curve, epochs, QUANTILES)
    known = zip(curve.epochs, curve.values) if curve is not None else ()
    values = {epoch: optimizer.signed(value) for epoch, value in known}
    trial = None if curve is None else curve.trial_id
    return Option(trial, configuration, values, target_epoch, relative_ei, epochs, forecast)


def explanation_text(explanation: Explanation, width: int = 120) -> str:
    """Return an explanation as text."""
    chosen = explanation.chosen
    from_where = f'from epoch {chosen.previous_epoch}' if chosen.previous_epoch else 'from scratch'
    lines = [f'decision {explanation.step}: train trial {chosen.id} {from_where} to epoch {chosen.epoch}']
    lines += wrapped(f'  configuration           {format_configuration(chosen.configuration)}', width, 26)
    if explanation.best is not None:
        lines.append(f'  best metric until then  {explanation.best:.6g}')
    if not explanation.options:
        return '\n'.join([*lines, *wrapped(f'  {explanation.not_weighed()}', width, 2)])
    if explanation.threshold is not None:
        lines.append(f'  to be improved on       {explanation.threshold:.6g}, with the margin drawn for this decision')
    lines.append(f'  weighed                 {plural(explanation.paused, "paused trial")}, {explanation.new} new ones')
    heads = ['', 'epoch', 'last', 'judged at', 'predicted', '5%', '95%', 'gain', 'configuration']
    rows = [heads]
    for place, option in enumerate(explanation.options, 1):
        low, median, high = (f'{q:.3g}' for q in option.at_horizon())
        last = f'{list(option.values.values())[-1]:.4g}' if option.values else '-'
        reached = str(max(option.values, default=0))
        name = f'{place}. {option.name()}'
        numbers = [str(option.target_epoch), median, low, high, f'{option.relative_ei:.2f}']
        rows.append([name, reached, last, *numbers, format_configuration(option.configuration)])
    lines += ['', *format_table(rows, width), '', *(line for text in WORDS for line in wrapped(text, width, 11))]
    return '\n'.join(lines)
