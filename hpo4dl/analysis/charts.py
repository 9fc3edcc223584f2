"""What the charts of a run show: their axes, limits, ticks, positions and counts.

All of it is computed here once and drawn twice: by `plots` with matplotlib, by `page.html` in a browser. It is plain
Python, so that the page needs no NumPy.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from ..records.state import TrialRecord
from .run import Hyperparameter, Run, to_json

MANY = 300
"""From so many trials on, lines and points are thinner."""
MAX_AXES, MAX_PANELS = 12, 24
"""Hyperparameters that are drawn at most as parallel coordinates, and as panels of their own."""
FEW = 5
"""Values of an integer that are labeled one by one at most."""
EARLY = 0.05
"""Share of a run's epochs whose best metric so far is not looked at closely."""
FINALISTS = 6
"""The best trials, whose race is drawn once more, by itself."""
INACTIVE = -0.13
"""Where an inactive hyperparameter is drawn, below its axis, which goes from 0 to 1."""


@dataclass(frozen=True)
class Axis:
    """A range of values, linear or logarithmic."""

    low: float
    high: float
    log: bool = False
    outside: int = 0
    """Values that it was made for and leaves out."""

    def position(self, value: float) -> float:
        """Return where a value lies: 0 at `low`, 1 at `high`."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / ((high - low) or 1)

    def widened(self, share: float) -> Axis:
        """Return the axis with a margin on both sides, so that no point lies on the frame."""
        if self.log:
            factor = math.exp(share * (math.log(self.high) - math.log(self.low)))
            return replace(self, low=self.low / factor, high=self.high * factor)
        margin = share * (self.high - self.low) or share * max(abs(self.low), 1e-9)
        return replace(self, low=self.low - margin, high=self.high + margin)

    def ticks(self, n: float, whole: bool = False) -> list[float]:
        """Return round values on the axis, some `n` of them."""
        if self.log:
            digits = (1,) if self.high > 500 * self.low else (1, 2, 5)
            bottom, top = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            powers = range(bottom, top + 1, max(1, math.ceil((top - bottom) / (2 * n))))
            values = [float(f'{digit}e{power}') for power in powers for digit in digits]
            values = [value for value in values if value.is_integer()] if whole else values
            return [value for value in values if 0.9999 * self.low <= value <= 1.0001 * self.high]
        if not self.high - self.low > 1e-300:  # less cannot be divided
            return sorted({self.low, self.high})
        rough = (self.high - self.low) / n
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((digit * power for digit in (1, 2, 5) if digit * power >= rough), 10 * power)
        step = max(step, 1.0) if whole else step
        numbers = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [float(f'{number * step:.12g}') for number in numbers]


def limits(run: Run, metrics: Sequence[float]) -> Axis:
    """Return the range of the better nine tenths of the metrics, however bad the others are.

    It is logarithmic for losses that differ by more than a factor of ten.
    """
    best_first = sorted(metrics, reverse=not run.minimize)
    best, worst = best_first[0], best_first[-1]
    index, part = divmod(0.9 * (len(best_first) - 1), 1)
    common = best_first[int(index)]
    if part:
        common += part * (best_first[int(index) + 1] - common)
    if abs(worst - best) > 4 * abs(common - best) > 0:
        worst = best + 1.5 * (common - best)
    low, high = min(best, worst), max(best, worst)
    outside = sum(not low <= metric <= high for metric in metrics)
    return Axis(low, high, run.minimize and 0 < 10 * low < high, outside)


def extremes(run: Run, metrics: Sequence[float]) -> Axis:
    """Return `limits`, drawn in to metrics that occurred."""
    metrics = [min(max(metric, -1e250), 1e250) for metric in metrics]  # so that what is computed is finite
    axis = limits(run, metrics)
    shown = [metric for metric in metrics if axis.low <= metric <= axis.high]
    low, high = min(shown), max(shown)
    return replace(axis, low=low, high=high, log=axis.log and 0 < 10 * low < high)


def metric_axis(run: Run, metrics: Sequence[float]) -> Axis:
    """Return `extremes` with a margin."""
    axis = extremes(run, metrics)
    return axis.widened(0.04 if axis.log else 0.05)


def metric_ticks(run: Run, metrics: Sequence[float], n: float) -> list[float]:
    """Return round values among the metrics that are shown, or the ends of what is: no value beyond what occurred."""
    axis = extremes(run, metrics)
    found = axis.ticks(n)
    return found if len(found) > 1 else sorted({axis.low, axis.high})


def epoch_ticks(last: int, n: float, first: int = 1) -> list[float]:
    """Return epochs to be labeled, epoch 1 among them where it is shown."""
    return sorted({*([1.0] if first == 1 else []), *Axis(first, max(last, first)).ticks(n, whole=True)})


def metric_label(run: Run) -> str:
    """Return what an axis of metrics says."""
    return f'{run.metric_name} ({"smaller" if run.minimize else "larger"} is better)'


def best_so_far(run: Run) -> list[float]:
    """Return the best metrics so far, from when the first twentieth of the epochs was spent: those before hide them."""
    steps = run.improvements()
    early = [o for o in steps if o.spent <= EARLY * run.epochs_spent]
    return [o.metric for o in steps[max(len(early) - 1, 0) :]]


def marked_values(h: Hyperparameter, run: Run) -> list[float]:
    """Return the values of a number to be labeled: round ones, or those of an integer that took few, well apart."""
    raced = {float(trial.configuration[h.name]) for trial in run.trials.values() if h.name in trial.configuration}
    axis = value_axis(h, run)
    if not (h.integer and len(raced) <= FEW):
        return axis.ticks(5, h.integer) or [axis.low, axis.high]
    values = sorted(raced)
    return [v for i, v in enumerate(values) if i == 0 or axis.position(v) - axis.position(values[i - 1]) > 0.1]


def zoom_metrics(run: Run) -> list[float]:
    """Return the metrics that the race of the best six is about: they span what these differ by, and as much again.

    At least the better four fifths of the last quarters of their curves: where metrics are noisy, these spread wider.
    """
    ranked = run.ranked()[:FINALISTS]
    best, sixth = ranked[0].best, ranked[-1].best
    assert best is not None
    assert sixth is not None
    seen = [metric for trial in ranked for metric in trial.metrics.values()]
    late = [m for trial in ranked for epoch, m in trial.metrics.items() if epoch > 0.75 * max(trial.metrics)]
    common = sorted(late, reverse=not run.minimize)[int(0.8 * (len(late) - 1))]
    limit = (max if run.minimize else min)(2 * sixth.metric - best.metric, common)
    return [metric for metric in seen if best.metric != sixth.metric and not run.is_better(limit, metric)] or seen


def zoom_epochs(run: Run) -> tuple[int, int]:
    """Return the first and the last epoch at which the best six have such metrics."""
    shown = {*zoom_metrics(run)}
    epochs = [e for trial in run.ranked()[:FINALISTS] for e, metric in trial.metrics.items() if metric in shown]
    return min(epochs), max(epochs)


def value_axis(h: Hyperparameter, run: Run) -> Axis:
    """Return the range of a number."""
    low, high = run.bounds(h)
    return Axis(low, high, h.log and low > 0)


def varying(run: Run) -> list[Hyperparameter]:
    """Return the hyperparameters that some trial has, and that can take more than one value."""
    raced = {name for trial in run.trials.values() for name in trial.configuration}
    return [h for h in run.hyperparameters if h.name in raced and (h.kind == 'number' or len(h.values) > 1)]


def number_marks(axis: Axis, digits: int, whole: bool = False) -> list[tuple[float, Any]]:
    """Return both ends and the middle of an axis, or the whole number next to it, with the values there."""
    middle = math.sqrt(axis.low) * math.sqrt(axis.high) if axis.log else (axis.low + axis.high) / 2
    values = sorted({axis.low, round(middle), axis.high}) if whole else [axis.low, middle, axis.high]
    return [(axis.position(value), float(f'{value:.{digits}g}')) for value in values]


@dataclass(frozen=True)
class Column:
    """One of the parallel coordinates."""

    name: str
    marks: list[tuple[float, Any]]
    """Positions and the values there."""
    positions: list[float]
    """Where the trials are on it, the best trial first."""


def column(h: Hyperparameter, trials: Sequence[TrialRecord], run: Run) -> Column:
    """Return the column of a hyperparameter, with twelve marks at most."""
    if h.kind == 'number':
        axis = value_axis(h, run)
        raced = [trial.configuration[h.name] for trial in trials if h.name in trial.configuration]
        marks, index = number_marks(axis, 3, h.integer), {repr(value): axis.position(value) for value in raced}
        if h.integer and len(index) <= FEW:
            marks = [(axis.position(value), value) for value in sorted(set(raced))]
    else:
        n = max(len(h.values) - 1, 1)
        index = {repr(value): i / n for i, value in enumerate(h.values)}
        marks = [(i / n, h.values[i]) for i in range(0, len(h.values), math.ceil(len(h.values) / 12))]
    found = [index[repr(t.configuration[h.name])] if h.name in t.configuration else INACTIVE for t in trials]
    return Column(h.name, marks, found)


def parallel_columns(run: Run) -> list[Column]:
    """Return a column a hyperparameter, the last one for the best metric."""
    ranked = run.ranked()
    best = [trial.best.metric for trial in ranked if trial.best]
    scale = extremes(run, best)
    heights = [scale.position(min(max(metric, scale.low), scale.high)) for metric in best]
    columns = [column(h, ranked, run) for h in varying(run)[:MAX_AXES]]
    return [*columns, Column(f'best {run.metric_name}', number_marks(scale, 4), heights)]


def spread_indices(h: Hyperparameter, trials: Sequence[TrialRecord]) -> list[float]:
    """Return the indices of the trials' categories, spread a little so that equal ones do not hide each other."""
    index = {repr(value): i for i, value in enumerate(h.values)}
    spread = 0.3 * min(1.0, len(trials) / 50)
    return [index[repr(trial.configuration[h.name])] + spread * math.sin(2.4 * i) for i, trial in enumerate(trials)]


def last_epoch(run: Run) -> int:
    """Return the furthest that any trial got."""
    return max((trial.epoch for trial in run.trials.values()), default=0)


def epoch_label(run: Run, text: str = 'epoch of the trial') -> str:
    """Return what an axis of a trial's epochs says."""
    return text + (f', of {run.max_epochs} at most' if last_epoch(run) < run.max_epochs else '')


def trials_by_epoch(run: Run) -> list[tuple[int, int, int]]:
    """Return bars: first and last epoch, and the number of trials that were trained to each of these, or further.

    Of many epochs, those with the same number are one bar.
    """
    reached = sorted(trial.epoch for trial in run.trials.values())
    last = max([1, *reached])
    ends = range(1, last + 1) if last <= 200 else sorted({*reached} - {0})
    return [(before + 1, end, len(reached) - bisect_left(reached, end)) for before, end in pairwise([0, *ends])]


def time_unit(seconds: float) -> tuple[str, int]:
    """Return the unit of a time axis, and its seconds."""
    units = (('days', 86400), ('hours', 3600), ('minutes', 60), ('seconds', 1))
    return next((name, size) for name, size in units if seconds >= 2 * size or size == 1)


def curve_opacity(n: int) -> float:
    """Return the opacity of one of n learning curves."""
    return max(0.08, min(0.7, 60 / max(n, 1)))


def line_opacities(n: int) -> list[float]:
    """Return the opacities of n trials across parallel coordinates, the worst one first."""
    faint = max(0.03, min(0.5, 20 / max(n, 1)))
    return [faint + (0.8 - faint) * (i / max(n - 1, 1)) ** (8 if n > MANY else 2) for i in range(n)]


def page_data(run: Run) -> dict[str, Any]:
    """Return the run as `to_json`, and beside it all that its page draws."""
    ranked, shown = run.ranked(), varying(run)
    data = to_json(run)
    data['tracebacks'] = list(dict.fromkeys(trial.traceback for trial in run.trials.values() if trial.traceback))
    numbers = {traceback: number for number, traceback in enumerate(data['tracebacks'])}
    for entry, trial in zip(data['trials'], run.trials.values()):
        entry |= {'rank': None, 'best_epoch': trial.best and trial.best.epoch, 'last': trial.epoch}
        entry['traceback'] = numbers.get(trial.traceback)
    if not ranked:
        return {**data, 'charts': None}
    by_id = {entry['id']: entry for entry in data['trials']}
    best = [trial.best.metric for trial in ranked if trial.best]
    columns = parallel_columns(run)
    opacities = line_opacities(len(ranked))[::-1]
    for i, trial in enumerate(ranked):
        path = [round(column.positions[i], 4) for column in columns]
        by_id[trial.id] |= {'rank': i + 1, 'path': path, 'opacity': opacities[i]}
    last, counts = last_epoch(run), trials_by_epoch(run)
    most = max(1, *(n for _, _, n in counts))
    unit, unit_seconds = time_unit(run.elapsed)
    counted = epoch_label(run, 'trials trained to at least this epoch')
    every = [metric for trial in ranked for metric in trial.metrics.values()]
    named = {'label': f'best {run.metric_name}'}
    begin, end = zoom_epochs(run)
    data['charts'] = {
        'many': len(ranked) > MANY,
        'last': last,
        'finalists': FINALISTS,
        'curve_opacity': curve_opacity(len(ranked)),
        'epochs': _epochs(last, epoch_label(run)),
        'metrics': _metrics(run, every, 10),
        'zoom_epochs': _epochs(end, 'epoch of the trial', begin),
        'zoom': _metrics(run, zoom_metrics(run), 8),
        'best': _metrics(run, best, 6) | named,
        'improvements': _metrics(run, best_so_far(run), 7) | named,
        'spent': _drawn(Axis(0, run.epochs_spent or 1), 6, 'epochs trained, over all trials'),
        'seconds': {
            **_drawn(Axis(0, run.elapsed / unit_seconds or 1), 6, f'time that the run worked ({unit})'),
            'unit': unit_seconds,
        },
        'counts': counts,
        'counted': {**_drawn(Axis(0.5, last + 0.5), 4, counted), 'ticks': epoch_ticks(last, 4)},
        'count': _drawn(Axis(0.7 if most > 50 else 0, 1.05 * most, most > 50), 10, 'trials', whole=True),
        'parallel': [{'name': c.name, 'marks': c.marks, 'inactive': INACTIVE in c.positions} for c in columns],
        'inactive': INACTIVE,
        'scatters': [_scatter(h, run, ranked) for h in shown[:MAX_PANELS]],
    }
    return data


def _drawn(axis: Axis, n: int, label: str = '', whole: bool = False) -> dict[str, Any]:
    return {**asdict(axis), 'ticks': axis.ticks(n, whole), 'label': label}


def _metrics(run: Run, metrics: Sequence[float], n: float) -> dict[str, Any]:
    return {**asdict(metric_axis(run, metrics)), 'ticks': metric_ticks(run, metrics, n), 'label': metric_label(run)}


def _epochs(last: int, label: str, first: int = 1) -> dict[str, Any]:
    axis = Axis(first - 0.3, max(last, first + 1) + 0.3)
    return {**asdict(axis), 'ticks': epoch_ticks(last, 9, first), 'label': label}


def _scatter(h: Hyperparameter, run: Run, ranked: Sequence[TrialRecord]) -> dict[str, Any]:
    trials = [trial for trial in ranked[::-1] if h.name in trial.configuration]
    if h.kind == 'number':
        axis: dict[str, Any] = {**asdict(value_axis(h, run).widened(0.03)), 'ticks': marked_values(h, run)}
        x = [trial.configuration[h.name] for trial in trials]
    else:
        axis = {'low': -0.5, 'high': len(h.values) - 0.5, 'names': h.values}
        x = spread_indices(h, trials)
    return {'name': h.name, 'x': axis, 'points': [[trial.id, value] for trial, value in zip(trials, x)]}
