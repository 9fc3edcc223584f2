"""Call the objective function once, and turn whatever comes of it into a report.

What the function returns is read like this, entry by entry in the order of the epochs: what is usable is used, and
the first thing that is not makes the trial failed, with the reason.

- a dict, or a list of dicts, with `epoch` and `metric`; other keys are the user's own and are kept;
- `epoch`: a whole number among those asked for, each at most once, the last one asked for among them;
- `metric`: a finite number; numpy and torch scalars and tensors of one element are numbers too.
"""

from __future__ import annotations

import math
import numbers
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .trial import Configuration, Trial

Objective = Callable[[Configuration, int, int, str], Any]


@dataclass
class Report:
    """What became of one call of the objective function."""

    metrics: dict[int, float] = field(default_factory=dict)
    """The usable metrics by epoch, in the user's own sign."""
    info: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The user's further keys by epoch, JSON-ready."""
    failed: str | None = None
    """Why the trial cannot go on, in one line; None if it can."""
    traceback: str | None = None
    """Where the exception was raised, if one was."""
    seconds: float = 0.0
    """Duration of the call."""


def call(objective_function: Objective, trial: Trial, checkpoint_path: str | os.PathLike[str]) -> Report:
    """Train one step; never raises but for KeyboardInterrupt."""
    begin = time.perf_counter()
    try:
        returned = objective_function(
            dict(trial.configuration), trial.epoch, trial.previous_epoch, os.fspath(checkpoint_path)
        )
        report = read(returned, trial)
    except (Exception, SystemExit) as error:
        report = Report(failed=one_line(error), traceback=traceback.format_exc(limit=-20)[-10_000:])
    report.seconds = time.perf_counter() - begin
    return report


def read(returned: object, trial: Trial) -> Report:
    """Check what the objective function returned for `trial`."""
    report = Report()
    entries = [returned] if isinstance(returned, Mapping) else returned
    if not isinstance(entries, (list, tuple)):
        report.failed = f'returned {brief(returned)}; accepted: a dict or a list of dicts with epoch and metric'
        return report
    problems: list[tuple[float, str]] = []
    for entry in entries:
        if not isinstance(entry, Mapping) or 'epoch' not in entry or 'metric' not in entry:
            problems.append((0, f'returned the entry {brief(entry)}; accepted: a dict with epoch and metric'))
            continue
        epoch, metric = as_epoch(entry['epoch']), as_number(entry['metric'])
        if epoch is None or not trial.previous_epoch < epoch <= trial.epoch:
            asked = f'{trial.previous_epoch + 1} to {trial.epoch}'
            problems.append((0, f'returned epoch {brief(entry["epoch"])}; asked for were {asked}'))
        elif epoch in report.metrics or any(at == epoch for at, _ in problems):
            problems.append((epoch, f'returned epoch {epoch} more than once'))
        elif metric is None or not math.isfinite(metric):
            problems.append((epoch, f'the metric of epoch {epoch} is {brief(entry["metric"])}, not a finite number'))
        else:
            report.metrics[epoch] = metric
            report.info[epoch] = {str(k): plain(v) for k, v in entry.items() if k not in ('epoch', 'metric')}
    if not problems and trial.epoch not in report.metrics:
        last = max(report.metrics, default=None)
        problems.append((trial.epoch, f'asked to train to epoch {trial.epoch}, the last one returned is {last}'))
    if problems:
        first, report.failed = min(problems)
        for epoch in [e for e in report.metrics if first and e > first]:
            del report.metrics[epoch], report.info[epoch]
    report.metrics = dict(sorted(report.metrics.items()))
    return report


def as_number(value: object) -> float | None:
    """A real number as float: Python's, numpy's and torch's, tensors of one element included; else None."""
    if hasattr(value, 'item') and not isinstance(value, numbers.Number):
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            return None
    if isinstance(value, (numbers.Real, np.floating, np.integer)):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return None


def as_epoch(value: object) -> int | None:
    """A whole number as int, else None."""
    number = as_number(value)
    return int(number) if number is not None and math.isfinite(number) and number == int(number) else None


def plain(value: object) -> Any:
    """`value` as JSON can hold it: containers and finite numbers as such, all else as text of <= 1000 characters."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value[:1000]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    number = as_number(value)
    if number is not None and math.isfinite(number):
        return number
    return brief(value, 1000)


def brief(value: object, length: int = 200) -> str:
    """`repr(value)`, cut to `length` characters; never raises."""
    try:
        text = repr(value)
    except Exception as error:
        text = f'<{type(value).__name__} whose repr raises {type(error).__name__}>'
    return text if len(text) <= length else text[: length - 3] + '...'


def one_line(error: BaseException) -> str:
    """An exception as one line: its type and message."""
    try:
        message = ' '.join(str(error).split())
    except Exception:
        message = '(its message cannot be read)'
    return f'{type(error).__name__}: {message}'[:1000]
