"""Call the objective function once, here or in a worker, and turn whatever comes of it into a report.

What the function returns is read like this, entry by entry in the order of the epochs: what is usable is used, and
the first thing that is not makes the trial failed, with the reason.

- a dict, or a list of dicts, with `epoch` and `metric`; other keys are the user's own and are kept;
- `epoch`: a whole number among those asked for, each at most once, the last one asked for among them;
- `metric`: a finite number; numpy and torch scalars and tensors of one element are numbers too.

`work` is all that a worker does: the attempt's folder, the call, the folder forced to the disk, the report, which is
plain data whatever the function raised or returned.
"""

from __future__ import annotations

import json
import math
import numbers
import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..files import REFUSED, copy_tree, remove_tree, sync_tree
from ..text import brief, one_line
from ..trial import Configuration, Trial

MAX_INFORMATION = 100_000
"""Characters of JSON that the user's own keys of one epoch may take in the journal."""

Objective = Callable[[Configuration, int, int, str], Any]


@dataclass
class Outcome:
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
    size: int = 0
    """Bytes of the checkpoint that it left."""
    storage: str | None = None
    """What the file system refused, if it did: no fault of the trial's, and no result."""


@dataclass(frozen=True)
class Attempt:
    """One call of the objective function: its number, and where it works. All that a worker is told."""

    number: int
    trial: Trial
    """What is called: trained from `previous_epoch` to `epoch`."""
    folder: str
    """The attempt's own folder, which becomes the `checkpoint_path`."""
    source: str | None
    """The folder that it starts as a copy of; itself: it is left as it is; None: it starts empty."""
    mark: str
    """A file that a worker makes when it begins: limits of time start there."""


def work(objective_function: Objective, attempt: Attempt) -> Outcome:
    """Train one step in a worker. Never raises but for KeyboardInterrupt in the tuner's own process, see `InProcess`.

    Engines may run a call twice, so the folder may hold what another one left.
    """
    try:
        if attempt.source != attempt.folder:
            remove_tree(Path(attempt.folder))
        if attempt.source is None:
            os.makedirs(attempt.folder)
        elif attempt.source != attempt.folder:
            copy_tree(Path(attempt.source), Path(attempt.folder))
    except OSError as error:
        if attempt.source != attempt.folder:
            remove_tree(Path(attempt.folder))
        return Outcome(storage=f'{attempt.folder}: cannot be made: {one_line(error)}')
    report = call(objective_function, attempt.trial, attempt.folder)
    try:
        os.makedirs(attempt.folder, exist_ok=True)  # an objective function may have removed it
        report.size = sync_tree(Path(attempt.folder))
        if report.failed is not None:
            probe(Path(attempt.folder))
    except OSError as error:
        report.storage = f'{attempt.folder}: cannot be written: {one_line(error)}'
    return report


def probe(folder: Path) -> None:
    """Raises OSError if nothing can be written below `folder`: then a failed call may not have been at fault."""
    file = folder / f'.hpo4dl.{secrets.token_hex(8)}'
    try:
        with open(file, 'xb') as written:
            written.write(bytes(100_000))
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        if error.errno in REFUSED:
            raise
    finally:
        file.unlink(missing_ok=True)


def work_elsewhere(objective_function: Objective, attempt: Attempt) -> Outcome:
    """`work` in a worker: it leaves a mark when it begins, and a KeyboardInterrupt is a failure like any other."""
    try:
        os.makedirs(os.path.dirname(attempt.mark), exist_ok=True)
        os.close(os.open(attempt.mark, os.O_WRONLY | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o666))
    except OSError as error:
        return Outcome(storage=f'{attempt.mark}: cannot be written: {one_line(error)}')
    try:
        return work(objective_function, attempt)
    except KeyboardInterrupt as error:
        return Outcome(failed=one_line(error), traceback=traceback.format_exc(limit=-20)[-10_000:])


def call(objective_function: Objective, trial: Trial, checkpoint_path: str | os.PathLike[str]) -> Outcome:
    """Train one step; never raises but for KeyboardInterrupt. What the objective function forked ends here."""
    begin, process = time.perf_counter(), os.getpid()
    try:
        returned = objective_function(
            dict(trial.configuration), trial.epoch, trial.previous_epoch, os.fspath(checkpoint_path)
        )
        if os.getpid() != process:
            end_fork(None)
        report = read(returned, trial)
    except KeyboardInterrupt:
        if os.getpid() != process:
            end_fork(KeyboardInterrupt())
        raise
    except BaseException as error:  # SystemExit and what users derive from BaseException included
        if os.getpid() != process:
            end_fork(error)
        report = Outcome(failed=one_line(error), traceback=traceback.format_exc(limit=-20)[-10_000:])
    report.seconds = time.perf_counter() - begin
    return report


def end_fork(error: BaseException | None) -> NoReturn:
    """In a child that the objective function forked and that came back here: end it as `sys.exit` would.

    Else it would go on as a second tuner, or a second worker.
    """
    code: object = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def read(returned: object, trial: Trial) -> Outcome:
    """Check what the objective function returned for `trial`."""
    report = Outcome()
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
            report.info[epoch] = information(entry)
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


def information(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """The user's own keys, JSON-ready; a note of their size in their place where they exceed MAX_INFORMATION."""
    told = {str(k)[:1000]: plain(v) for k, v in entry.items() if k not in ('epoch', 'metric')}
    size = len(json.dumps(told))
    return told if size <= MAX_INFORMATION else {'not_recorded': f'{size} characters, more than {MAX_INFORMATION}'}


def plain(value: object, depth: int = 0) -> Any:
    """`value` as JSON can hold it: containers and finite numbers as such, all else as text of <= 1000 characters."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, str):
        return value[:1000]
    if isinstance(value, Mapping) and depth < 10:
        return {str(k)[:1000]: plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and depth < 10:
        return [plain(v, depth + 1) for v in value]
    number = as_number(value)
    if number is not None and math.isfinite(number):
        return number
    return brief(value, 1000)
