"""Call the objective function once, here or in a worker, and turn whatever comes of it into an `Outcome`.

What the function returns is read like this, entry by entry in the order of the epochs: what is usable is used, and
the first thing that is not makes the trial failed, with the reason.

- a dict, or a list of dicts, with `epoch` and `metric`; other keys are the user's own and are kept;
- `epoch`: a whole number among those asked for, each at most once, the last one asked for among them;
- `metric`: a finite number; numpy and torch scalars and tensors of one element are numbers too.
"""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import numbers
import os
import secrets
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np

from ..files import REFUSED, copy_tree, remove_tree, sync_tree
from ..text import brief, one_line
from ..trial import Attempt, Objective, Outcome, Trial, copied

ENCODER = json.JSONEncoder()
"""Of our own: an objective function may replace those of `json`."""
MAX_EXTRA_INFO = 100_000
"""Characters of JSON that the user's own keys of one epoch may take in the journal."""


@runtime_checkable
class TrainsAttempts(Protocol):
    """An objective function that is a program: it knows more of its call than others are told."""

    def train_attempt(self, attempt: Attempt) -> Outcome: ...

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ArgumentError where it does not fit these hyperparameters."""


def run_attempt(objective_function: Objective, attempt: Attempt) -> Outcome:
    """Train one step in a worker: make the attempt's folder, call the function, force the folder to the disk.

    Never raises but for KeyboardInterrupt in the tuner's own process.
    """
    folder = Path(attempt.folder)
    if not attempt.in_place:  # engines may run a call twice: each has a folder of its own
        folder = folder.with_name(f'{folder.name}.{secrets.token_hex(8)}')
    if attempt.source != attempt.folder:
        try:
            make_trial_folder(folder.parent)
            if attempt.in_place:
                remove_tree(folder)
            if attempt.source is None:
                folder.mkdir()
            else:
                copy_tree(Path(attempt.source), folder)
        except OSError as error:
            remove_tree(folder)
            return blamed(Outcome(), error, folder, 'cannot be made')
    own = replace(attempt, folder=str(folder))
    outcome = call_objective(objective_function, attempt.trial, folder, own)
    outcome.folder = str(folder)
    try:
        make_folder_again(folder)
        outcome.size = sync_tree(folder)
        if outcome.failed is not None:
            probe(folder)
    except OSError as error:
        return blamed(outcome, error, folder, 'cannot be written')
    return outcome


def blamed(outcome: Outcome, error: OSError, folder: Path, what: str) -> Outcome:
    """Return the outcome where an attempt's folder is of no use: the trial failed, if others can be made beside it."""
    beside = folder.with_name(f'{folder.name}{secrets.token_hex(8)}')
    try:
        if error.errno in (*REFUSED, errno.ENOENT):
            raise error
        beside.mkdir()
        beside.rmdir()
    except OSError:
        outcome.storage = f'{folder}: {what}: {one_line(error)}'
        return outcome
    reason = outcome.failed or f'its checkpoint folder {what}: {one_line(error)}'
    return Outcome(failed=reason, traceback=outcome.traceback, seconds=outcome.seconds)


def make_trial_folder(folder: Path) -> None:
    """Make it if it is not there, but never the run's: if that is gone, the race was ended by somebody else."""
    with suppress(FileExistsError):
        folder.mkdir()


def make_folder_again(folder: Path) -> None:
    """See that what a call leaves is a folder, whatever it did: copy where a link leads to, replace anything else.

    Raises OSError of a link to what has no end: a folder around it, the kernel's own.
    """
    if folder.is_symlink() and folder.is_dir():
        target = folder.resolve()
        if folder.parent.resolve().is_relative_to(target) or target.parts[1:2] in (('proc',), ('sys',)):
            raise OSError(errno.ELOOP, f'a link to {target}, which cannot be copied')
        copy = folder.with_name(f'{folder.name}{secrets.token_hex(8)}')
        copy_tree(target, copy)
        folder.unlink()
        copy.rename(folder)
    elif not folder.is_dir():
        remove_tree(folder)
        folder.mkdir()


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


def run_attempt_in_worker(objective_function: Objective, attempt: Attempt) -> Outcome:
    """`run_attempt` elsewhere: it makes `started_file`, and a KeyboardInterrupt is a failure like any other."""
    use_one_thread_if_forked()
    try:
        make_trial_folder(Path(attempt.started_file).parent)
        os.close(os.open(attempt.started_file, os.O_WRONLY | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o666))
    except OSError as error:
        return Outcome(storage=f'{attempt.started_file}: cannot be written: {one_line(error)}')
    try:
        return run_attempt(objective_function, attempt)
    except KeyboardInterrupt as error:
        return Outcome(failed=one_line(error), traceback=traceback.format_exc(limit=-20)[-10_000:])


def use_one_thread_if_forked() -> None:
    """Let torch use one thread in a forked worker, as its own data loaders do.

    OpenMP would wait for the threads that the tuner had when it was forked, for ever: they are not there.
    """
    torch: Any = sys.modules.get('torch')
    is_forked = type(multiprocessing.current_process()).__name__ == 'ForkProcess'
    if is_forked and hasattr(torch, 'set_num_threads'):
        torch.set_num_threads(1)


def call_objective(
    objective_function: Objective, trial: Trial, checkpoint_path: str | os.PathLike[str], attempt: Attempt | None = None
) -> Outcome:
    """Train one step; never raises but for KeyboardInterrupt. What the objective function forked ends here.

    One that has `train_attempt`, as programs have, is told the attempt, and says itself what became of it.
    """
    begin, deepest = time.perf_counter(), sys.getrecursionlimit()
    getpid, process = os.getpid, os.getpid()  # the function may replace it
    try:
        configuration, path = copied(trial.configuration), os.fspath(checkpoint_path)
        if attempt is not None and isinstance(objective_function, TrainsAttempts):
            return objective_function.train_attempt(attempt)
        returned = objective_function(configuration, trial.epoch, trial.previous_epoch, path)
        if getpid() != process:
            end_fork(None)
        outcome = parse_result(returned, trial)
    except KeyboardInterrupt:
        if getpid() != process:
            end_fork(KeyboardInterrupt())
        raise
    except BaseException as error:  # SystemExit and what users derive from BaseException included
        if getpid() != process:
            end_fork(error)
        outcome = Outcome(failed=one_line(error), traceback=traceback.format_exc(limit=-20)[-10_000:])
    finally:
        sys.setrecursionlimit(max(deepest, sys.getrecursionlimit()))  # our own code needs it
        os.umask(os.umask(0o077) & 0o077)  # and all rights on the files that we make
    outcome.seconds = max(0.0, time.perf_counter() - begin)  # the function may have replaced the clock
    return outcome


def end_fork(error: BaseException | None) -> NoReturn:
    """End a child that the objective function forked, as `sys.exit` would: else it would go on as a second tuner."""
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


def parse_result(returned: object, trial: Trial) -> Outcome:
    """Check what the objective function returned for `trial`."""
    outcome = Outcome()
    entries = [returned] if isinstance(returned, Mapping) else returned
    if not isinstance(entries, (list, tuple)):
        return Outcome(failed=f'returned {brief(returned)}; accepted: a dict or a list of dicts with epoch and metric')
    problems: list[tuple[float, str]] = []
    for entry in entries:
        if not isinstance(entry, Mapping) or 'epoch' not in entry or 'metric' not in entry:
            problems.append((0, f'returned the entry {brief(entry)}; accepted: a dict with epoch and metric'))
            continue
        number, metric = as_number(entry['epoch']), as_number(entry['metric'])
        epoch = int(number) if number is not None and number.is_integer() else None
        if epoch is None or not trial.previous_epoch < epoch <= trial.epoch:
            asked = f'{trial.previous_epoch + 1} to {trial.epoch}'
            problems.append((0, f'returned epoch {brief(entry["epoch"])}; asked for were {asked}'))
        elif epoch in outcome.metrics or any(at == epoch for at, _ in problems):
            problems.append((epoch, f'returned epoch {epoch} more than once'))
        elif metric is None or not math.isfinite(metric):
            shown = brief(entry['metric']) if metric is None else metric
            problems.append((epoch, f'the metric of epoch {epoch} is {shown}, not a finite number'))
        else:
            outcome.metrics[epoch] = metric
            outcome.info[epoch] = extra_info(entry)
    if not problems and trial.epoch not in outcome.metrics:
        last = max(outcome.metrics, default=None)
        problems.append((trial.epoch, f'asked to train to epoch {trial.epoch}, the last one returned is {last}'))
    if problems:
        first, outcome.failed = min(problems)
        for epoch in [e for e in outcome.metrics if first and e > first]:
            del outcome.metrics[epoch], outcome.info[epoch]
    outcome.metrics = dict(sorted(outcome.metrics.items()))
    return outcome


def as_number(value: object) -> float | None:
    """Return a real number as float: whatever can be one, tensors of one element included, but no text; else None."""
    if np.ma.is_masked(value):  # its item would be 0
        return None
    try:
        number: Any = value.item() if hasattr(value, 'item') and not isinstance(value, numbers.Number) else value
        is_real = hasattr(type(number), '__float__') and not isinstance(number, np.complexfloating)
        return float(number) if is_real else None
    except OverflowError:
        return math.inf
    except Exception:  # whatever its library raises
        return None


def extra_info(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the user's own keys, JSON-ready; a note of their size in their place where they exceed MAX_EXTRA_INFO."""
    info = {str(k)[:1000]: json_ready(v) for k, v in entry.items() if k not in ('epoch', 'metric')}
    size = len(ENCODER.encode(info))
    return info if size <= MAX_EXTRA_INFO else {'not_recorded': f'{size} characters, more than {MAX_EXTRA_INFO}'}


def json_ready(value: object, depth: int = 0) -> Any:
    """`value` as JSON can hold it: containers and finite numbers as such, all else as text of <= 1000 characters."""
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, str):
        return value[:1000]
    if isinstance(value, Mapping) and depth < 10:
        return {str(k)[:1000]: json_ready(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and depth < 10:
        return [json_ready(v, depth + 1) for v in value]
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else brief(value, 1000)
