"""The loop: ask the optimizer, train, write the journal, tell the optimizer; budgets, stops, resume."""

from __future__ import annotations

import csv
import inspect
import io
import json
import logging
import math
import os
import platform
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import scipy
import torch
from ConfigSpace import ConfigurationSpace

from .checkpoints import KEEP, Checkpoints
from .dyhpo import DyHPO
from .errors import ArgumentError, EveryTrialFailedError, JournalError, StorageError
from .files import write_text
from .hyperband import ASHA, Hyperband
from .journal import SCHEMA, Journal, Lock
from .progress import Callback, Event, end_terminal_line, log_line, terminal_line
from .race import Race, check_count, draw_seed
from .random_search import RandomSearch
from .runner import Objective, Report, brief, call
from .space import Space, describe, read_space, write_space
from .trial import Trial

OPTIMIZERS: dict[str, type[Race]] = {'dyhpo': DyHPO, 'hyperband': Hyperband, 'asha': ASHA, 'random': RandomSearch}
MAX_FAILURES = 10
"""A run whose first so many calls all fail is stopped."""
STOPPING_SIGNALS = ('SIGINT', 'SIGTERM', 'SIGUSR1')

logger = logging.getLogger(__name__)


class Optimizer(Protocol):
    """What the tuner needs of an optimizer. `DyHPO`, `Hyperband`, `ASHA` and `RandomSearch` have it from `Race`."""

    def ask(self) -> Trial | None:
        """The next step to train; None: nothing is left."""

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        """What became of it: the user's metrics by epoch, and why the trial cannot go on, if it cannot."""

    def replay(self, trial: Trial) -> None:
        """On resume, in the place of `ask`: take note that this step was decided on."""

    def is_alive(self, trial_id: int) -> bool:
        """Whether the trial may be asked for again, so that its checkpoint is needed."""


@dataclass(frozen=True)
class Settings:
    """What a run needs, beside its objective function and configuration space, to be continued from its folder."""

    max_epochs: int
    max_budget: int | None
    optimizer: str | None
    """None: an object that the user gave."""
    minimize: bool
    num_configurations: int
    seed: int
    device: str | None
    storage_path: str | None
    time_limit: float | None
    target: float | None
    initial_configurations: list[dict[str, Any]]
    candidates: list[dict[str, Any]] | None
    keep_checkpoints: str


class Tuner:
    """Tunes the hyperparameters of an objective function. The run's folder is made here, `run` does the work.

    Args:
        objective_function: called as `f(configuration, epoch, previous_epoch, checkpoint_path)`, trains on from
            `previous_epoch` (0: from scratch) to `epoch`, and returns a dict, or a list of dicts, with `epoch`,
            `metric`, and whatever else is to be recorded.
        configuration_space: what to search.
        max_epochs: epochs of one configuration at most.
        max_budget: epochs to train in all; None: another stop is needed, but for Hyperband, which then goes once
            round its brackets.
        output_path: where the run's own folder is made; default 'hpo4dl_results'.
        optimizer: 'dyhpo' (default), 'hyperband', 'asha', 'random', or an object such as `DyHPO(...)`.
        minimize: whether smaller metrics are better; default False.
        num_configurations: candidates that DyHPO weighs before each decision; default 1000.
        seed: a whole number; None draws one and records it.
        device: where DyHPO's surrogate is fitted: 'cpu' (default), 'cuda', ...
        storage_path: where checkpoints of trials lie; default: in the run's folder.
        time_limit: seconds of wall clock after which `run` starts no further call.
        target: a metric that ends the race when it is reached.
        initial_configurations: raced first.
        candidates: restricts the race to these configurations.
        keep_checkpoints: 'alive' (default), 'all' or 'best', see `Checkpoints`.
        callbacks: called with an `Event` after every result. What they raise is logged.
        progress: a line on the terminal; None shows it where stderr is one. Without it, a log line a result.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    run_folder: Path
    """The run's own folder, absolute."""
    stopped: str | None
    """Why `run` ended; None as long as it did not."""

    def __init__(
        self,
        objective_function: Objective,
        configuration_space: ConfigurationSpace,
        max_epochs: int,
        max_budget: int | None = None,
        output_path: str | os.PathLike[str] = 'hpo4dl_results',
        optimizer: str | Optimizer = 'dyhpo',
        minimize: bool = False,
        num_configurations: int = 1000,
        seed: int | None = None,
        device: str | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        *,
        time_limit: float | None = None,
        target: float | None = None,
        initial_configurations: Sequence[Mapping[str, object]] = (),
        candidates: Sequence[Mapping[str, object]] | None = None,
        keep_checkpoints: str = 'alive',
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
    ) -> None:
        check_objective_function(objective_function)
        check_optimizer(optimizer)
        if not isinstance(minimize, (bool, np.bool_)):
            raise ArgumentError('minimize', minimize, 'True or False')
        if keep_checkpoints not in KEEP:
            raise ArgumentError('keep_checkpoints', keep_checkpoints, ' or '.join(map(repr, KEEP)))
        named = optimizer if isinstance(optimizer, str) else None
        if max_budget is None and time_limit is None and target is None and named != 'hyperband':
            raise ArgumentError('max_budget', max_budget, 'a whole number >= 1, unless time_limit or target is given')
        space = Space(configuration_space, candidates)
        for configuration in check_list('initial_configurations', initial_configurations):
            space.to_cube(configuration, 'initial_configurations')
        self.settings = Settings(
            max_epochs=check_count('max_epochs', max_epochs),
            max_budget=None if max_budget is None else check_count('max_budget', max_budget),
            optimizer=named,
            minimize=bool(minimize),
            num_configurations=check_count('num_configurations', num_configurations),
            seed=draw_seed() if seed is None else check_count('seed', seed, least=0),
            device=check_device(device),
            storage_path=None if storage_path is None else os.path.abspath(check_path('storage_path', storage_path)),
            time_limit=None if time_limit is None else check_number('time_limit', time_limit, positive=True),
            target=None if target is None else check_number('target', target),
            initial_configurations=[space.plain(dict(c)) for c in initial_configurations],
            candidates=None if candidates is None else [space.plain(dict(c)) for c in candidates],
            keep_checkpoints=keep_checkpoints,
        )
        self._prepare(objective_function, configuration_space, space, optimizer, callbacks, progress)
        self.run_folder = make_run_folder(check_path('output_path', output_path), self.settings.storage_path)
        self._open_folder(take_over=False)
        write_run(self.run_folder, self.settings, configuration_space)
        self._journal.append({'event': 'run', 'schema': SCHEMA, 'run': self.run_folder.name})

    @classmethod
    def resume(
        cls,
        run_folder: str | os.PathLike[str],
        objective_function: Objective,
        *,
        max_budget: int | None = None,
        time_limit: float | None = None,
        target: float | None = None,
        optimizer: Optimizer | None = None,
        configuration_space: ConfigurationSpace | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        take_over: bool = False,
    ) -> Tuner:
        """A tuner that goes on with an interrupted run where its journal ends: `Tuner.resume(folder, f).run()`.

        Args:
            run_folder: the folder of the run.
            objective_function: as in `Tuner`.
            max_budget, time_limit, target: replace those of the run where given.
            optimizer: a fresh object like the one the run was started with, if that was an object.
            configuration_space: where the installed ConfigSpace cannot read the one in the folder.
            callbacks, progress: as in `Tuner`.
            take_over: go on although the lock of another host lies in the folder.

        Raises:
            ArgumentError: an argument cannot be used.
            JournalError: the folder holds no run, or a damaged one.
        """
        check_objective_function(objective_function)
        tuner = cls.__new__(cls)
        tuner.run_folder = Path(check_path('run_folder', run_folder))
        stored = read_settings(tuner.run_folder)
        if stored.optimizer is None and optimizer is None:
            raise ArgumentError('optimizer', optimizer, 'an object like the one that the run was started with')
        if stored.optimizer is not None and optimizer is not None:
            raise ArgumentError('optimizer', optimizer, f'None: the run was started with {stored.optimizer!r}')
        if configuration_space is None:
            configuration_space = read_configuration_space(tuner.run_folder)
        tuner.settings = replace(
            stored,
            max_budget=stored.max_budget if max_budget is None else check_count('max_budget', max_budget),
            time_limit=stored.time_limit if time_limit is None else check_number('time_limit', time_limit, True),
            target=stored.target if target is None else check_number('target', target),
        )
        plain_space = Space(configuration_space)
        candidates = None if stored.candidates is None else [plain_space.restore(c) for c in stored.candidates]
        space = Space(configuration_space, candidates) if candidates else plain_space
        chosen = optimizer if optimizer is not None else str(stored.optimizer)
        tuner._prepare(objective_function, configuration_space, space, chosen, callbacks, progress)
        tuner._open_folder(take_over)
        return tuner

    @property
    def epochs_spent(self) -> int:
        """Epochs trained so far, over all trials; a failed call counts with what it was asked for."""
        return self._spent

    @property
    def incumbent(self) -> dict[str, Any] | None:
        """The best so far, as `run` returns it."""
        return None if self._best is None else dict(self._best)

    def run(self) -> dict[str, Any]:
        """Race until a stop: the budget, the time limit, the target, a signal, or nothing left to train.

        Returns:
            The incumbent: `configuration`, `configuration_id`, `epoch`, `metric`, what else the objective function
            returned with it, and `time`, `overhead_time`, `total_time` (seconds an epoch).

        Raises:
            EveryTrialFailedError: no call gave a usable metric.
            StorageError: the run's folder could not be written.
            RunLockedError: another tuner works on the folder.
        """
        self._began = time.monotonic()
        with Lock(self.run_folder, self._take_over), self._stopping_on_signals():
            self._take_up()
            try:
                self.stopped = reason = self._race()
                self._journal.append({'event': 'stop', 'reason': reason})
                if self._signal is None and not reason.startswith('time_limit'):
                    self._checkpoints.end()
            finally:
                if self._shows_line and self._rows:
                    end_terminal_line()
                self._write_table()
        logger.info('%s: stopped after %d epochs: %s', self.run_folder, self._spent, self.stopped)
        if self._best is None:
            raise EveryTrialFailedError(self._common_failures())
        return dict(self._best)

    def _prepare(
        self,
        objective_function: Objective,
        configuration_space: ConfigurationSpace,
        space: Space,
        optimizer: str | Optimizer,
        callbacks: Sequence[Callback],
        progress: bool | None,
    ) -> None:
        self.objective_function = objective_function
        self._space = space
        self.optimizer = self._build(optimizer, configuration_space) if isinstance(optimizer, str) else optimizer
        self._shows_line = sys.stderr.isatty() if progress is None else bool(progress)
        for callback in check_list('callbacks', callbacks):
            if not callable(callback):
                raise ArgumentError('callbacks', callback, 'functions that take one event')
        self._callbacks = [terminal_line if self._shows_line else log_line, *callbacks]
        self.stopped = None
        self._spent = 0
        self._attempts = 0
        self._best: dict[str, Any] | None = None
        self._rows: list[dict[str, Any]] = []
        self._failures: Counter[str] = Counter()
        self._last_traceback = ''
        self._pending: dict[int, Trial] = {}
        self._signal: str | None = None

    def _build(self, name: str, configuration_space: ConfigurationSpace) -> Optimizer:
        settings = self.settings
        special: dict[str, Any] = {}
        if name == 'dyhpo':
            special = {'num_configurations': settings.num_configurations, 'device': settings.device}
        if name == 'hyperband' and settings.max_budget is settings.time_limit is settings.target is None:
            special = {'rounds': 1}
        return OPTIMIZERS[name](
            configuration_space,
            settings.max_epochs,
            minimize=settings.minimize,
            seed=settings.seed,
            initial_configurations=[self._space.restore(c) for c in settings.initial_configurations],
            candidates=settings.candidates and [self._space.restore(c) for c in settings.candidates],
            **special,
        )

    def _open_folder(self, take_over: bool) -> None:
        storage = self.settings.storage_path
        folder = self.run_folder / 'checkpoints' if storage is None else Path(storage) / self.run_folder.name
        self._take_over = take_over
        self._journal = Journal(self.run_folder)
        self._checkpoints = Checkpoints(folder, self.run_folder / 'best_trial', self.settings.keep_checkpoints)

    def _take_up(self) -> None:
        """Bring optimizer, counters and checkpoints to where the journal ends; what `run` did before counts too."""
        if self._rows or self._failures:
            return
        acknowledged: dict[int, int] = {}
        configurations: dict[int, dict[str, Any]] = {}
        for event in self._journal.read():
            if event['event'] == 'start':
                self._attempts = event['attempt'] + 1
                trial_id = event['trial']
                if 'configuration' in event:
                    configurations[trial_id] = self._space.restore(event['configuration'])
                trial = Trial(trial_id, configurations[trial_id], event['previous_epoch'], event['epoch'])
                if trial_id not in self._pending:  # else: an attempt that was lost, made again
                    self.optimizer.replay(trial)
                self._pending[trial_id] = trial
            elif event['event'] == 'result':
                trial = self._pending.pop(event['trial'])
                report = Report(
                    metrics={entry['epoch']: entry['metric'] for entry in event['epochs']},
                    info={entry['epoch']: entry['info'] for entry in event['epochs']},
                    failed=event['failed'],
                    seconds=event['seconds'],
                )
                self._count(trial, event['attempt'], report, event['overhead'])
                self.optimizer.tell(trial, report.metrics, report.failed)
                if report.failed is None:
                    acknowledged[trial.id] = event['attempt']
        self._checkpoints.restore(acknowledged)
        self._checkpoints.prune(self.optimizer.is_alive)
        missing = self._checkpoints.missing()
        if missing and self._reason_to_stop() is None:
            raise StorageError(
                f'{self._checkpoints.folder}: the checkpoints of trials {missing[:10]} are gone, so the race cannot go '
                "on (keep_checkpoints='best' removes them when a run has ended)"
            )
        if self._best is not None and self._checkpoints.has(self._best['configuration_id'], self._best_attempt):
            self._checkpoints.publish(self._best['configuration_id'])

    def _race(self) -> str:
        """Train step after step; returns why it stopped."""
        while True:
            reason = self._reason_to_stop()
            if reason is not None:
                return reason
            begin = time.perf_counter()
            trial = next(iter(self._pending.values()), None) or self._ask()
            if trial is None:
                return 'nothing is left to train: every configuration was trained to the end, or failed'
            self._step(trial, overhead=time.perf_counter() - begin)

    def _reason_to_stop(self) -> str | None:
        settings, seconds = self.settings, time.monotonic() - self._began
        if self._signal is not None:
            return f'{self._signal}: go on with Tuner.resume({str(self.run_folder)!r}, objective_function).run()'
        if settings.max_budget is not None and self._spent >= settings.max_budget:
            return f'max_budget: {self._spent} epochs are trained'
        if settings.target is not None and self._best is not None and not self._is_better(settings.target, self._best):
            return f'target: {self._best["metric"]} is reached'
        if settings.time_limit is not None and seconds >= settings.time_limit:
            return f'time_limit: {seconds:.0f} seconds are over'
        if self._best is None and sum(self._failures.values()) >= MAX_FAILURES:
            return f'the first {MAX_FAILURES} calls of the objective function failed'
        return None

    def _ask(self) -> Trial | None:
        trial = self.optimizer.ask()
        if trial is None:
            return None
        if self.settings.max_budget is not None:
            left = self.settings.max_budget - self._spent
            trial = replace(trial, epoch=min(trial.epoch, trial.previous_epoch + left))
        return trial

    def _step(self, trial: Trial, overhead: float) -> None:
        attempt = self._attempts
        self._attempts += 1
        start: dict[str, Any] = {'event': 'start', 'attempt': attempt, 'trial': trial.id}
        start |= {'previous_epoch': trial.previous_epoch, 'epoch': trial.epoch}
        if trial.previous_epoch == 0:
            start['configuration'] = self._space.plain(trial.configuration)
        self._journal.append(start, sync=False)  # the result's line brings it to the disk
        self._pending[trial.id] = trial
        report = call(self.objective_function, trial, self._checkpoints.begin(trial.id, attempt))
        self._checkpoints.sync(trial.id, attempt)
        epochs = [{'epoch': e, 'metric': m, 'info': report.info.get(e, {})} for e, m in report.metrics.items()]
        result: dict[str, Any] = {'event': 'result', 'attempt': attempt, 'trial': trial.id, 'epochs': epochs}
        result |= {'failed': report.failed, 'traceback': report.traceback}
        self._journal.append({**result, 'seconds': report.seconds, 'overhead': overhead})

        del self._pending[trial.id]
        improved = self._count(trial, attempt, report, overhead)
        if report.failed is None or improved:
            self._checkpoints.adopt(trial.id, attempt)
        else:
            self._checkpoints.discard(trial.id, attempt)
        if improved:
            self._checkpoints.publish(trial.id)
        self.optimizer.tell(trial, report.metrics, report.failed)
        self._checkpoints.prune(self.optimizer.is_alive)
        self._notify(trial, report)

    def _count(self, trial: Trial, attempt: int, report: Report, overhead: float) -> bool:
        """Take a result into the table; returns whether the incumbent changed."""
        self._spent += trial.epoch - trial.previous_epoch
        if report.failed is not None:
            self._failures[report.failed] += 1
            self._last_traceback = report.traceback or ''
        improved = False
        for epoch, metric in report.metrics.items():
            row = {'epoch': epoch, 'metric': metric, **report.info.get(epoch, {})}
            row |= {'configuration_id': trial.id, 'configuration': trial.configuration}
            seconds, overhead_time = report.seconds / len(report.metrics), overhead / len(report.metrics)
            row |= {'time': seconds, 'overhead_time': overhead_time, 'total_time': seconds + overhead_time}
            self._rows.append(row)
            if self._best is None or self._is_better(metric, self._best):
                self._best, self._best_attempt, improved = row, attempt, True
        return improved

    def _is_better(self, metric: float, row: dict[str, Any]) -> bool:
        return bool(metric < row['metric'] if self.settings.minimize else metric > row['metric'])

    def _notify(self, trial: Trial, report: Report) -> None:
        seconds = time.monotonic() - self._began
        event = Event(
            trial, report.metrics, report.failed, self.incumbent, self._spent, self.settings.max_budget, seconds
        )
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                logger.exception('the callback %s failed; the race goes on', brief(callback))

    def _common_failures(self) -> str:
        reasons = '; '.join(f'{n} times {reason!r}' for reason, n in self._failures.most_common(3))
        return f'no call of the objective function gave a usable metric: {reasons}\n{self._last_traceback}'.rstrip()

    def _write_table(self) -> None:
        """`hpo4dl_results.csv`, with the columns of hpo4dl 0.1.0."""
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, ['', *columns, 'best_metric'], restval='', lineterminator='\n')
        writer.writeheader()
        best = math.inf if self.settings.minimize else -math.inf
        for number, row in enumerate(self._rows):
            best = (min if self.settings.minimize else max)(best, row['metric'])
            writer.writerow({'': number, **row, 'best_metric': best})
        write_text(self.run_folder / 'hpo4dl_results.csv', table.getvalue())

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """A first signal lets the current call end and stops the race; a second one raises KeyboardInterrupt.

        Only where nobody else handles the signal, and only in the main thread, where Python allows it.
        """
        owner, previous = os.getpid(), {}

        def on_signal(number: int, frame: FrameType | None) -> None:
            if os.getpid() != owner:  # a child that was forked, such as a data loader's worker: as if we were not there
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            elif self._signal is not None:
                raise KeyboardInterrupt
            else:
                self._signal = signal.Signals(number).name
                logger.warning('%s: the current call is the last one; once more to leave at once', self._signal)

        self._signal = None
        if threading.current_thread() is threading.main_thread():
            for name in STOPPING_SIGNALS:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    previous[number] = signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def make_run_folder(output_path: str | os.PathLike[str], storage_path: str | None) -> Path:
    """A new folder below `output_path`, named after the time; two runs never share one."""
    name = datetime.now().strftime('experiment_%Y%m%d-%H%M%S')
    for argument, path in (('storage_path', storage_path), ('output_path', output_path)):
        try:
            if path is not None:
                Path(path).mkdir(parents=True, exist_ok=True)
                for n in range(1, 10_000):
                    folder = Path(path) / (name if n == 1 else f'{name}_{n}')
                    if not folder.exists():
                        try:
                            folder.mkdir()
                        except FileExistsError:
                            continue
                        name = folder.name
                        break
        except OSError as error:
            raise ArgumentError(argument, os.fspath(path or ''), f'a folder that can be written ({error})') from error
    return folder.absolute()


def write_run(folder: Path, settings: Settings, configuration_space: ConfigurationSpace) -> None:
    """What a run was started with, for people and for `Tuner.resume`."""
    versions = {module.__name__: module.__version__ for module in (np, scipy, torch)}
    environment = {'python': platform.python_version(), 'host': platform.node(), 'started': datetime.now().isoformat()}
    stored = {'settings': asdict(settings), 'environment': {**environment, **versions}}
    write_text(folder / 'settings.json', json.dumps(stored, indent=2))
    write_text(folder / 'hyperparameters.json', json.dumps(describe(configuration_space), indent=2))
    try:
        write_text(folder / 'configuration_space.json', write_space(configuration_space))
    except ArgumentError as error:
        logger.warning('to resume this run, configuration_space= will be needed: %s', error)


def read_settings(folder: Path) -> Settings:
    """The settings that `write_run` wrote."""
    path = folder / 'settings.json'
    try:
        return Settings(**json.loads(path.read_text(encoding='utf-8'))['settings'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(f'{path}: cannot be read, so there is no run to resume: {error!r}') from error


def read_configuration_space(folder: Path) -> ConfigurationSpace:
    """The configuration space that `write_run` wrote."""
    path = folder / 'configuration_space.json'
    try:
        return read_space(path.read_text(encoding='utf-8'))
    except Exception as error:  # whatever ConfigSpace raises
        raise JournalError(f'{path}: cannot be read: {error!r}; give resume(..., configuration_space=)') from error


def check_objective_function(value: object) -> None:
    """Raises ArgumentError unless `value` can be called with the four arguments."""
    accepted = 'a function (configuration, epoch, previous_epoch, checkpoint_path)'
    if not callable(value):
        raise ArgumentError('objective_function', value, accepted)
    try:
        inspect.signature(value).bind({}, 1, 0, '')
    except TypeError as error:
        raise ArgumentError('objective_function', value, f'{accepted}; {error}') from None
    except ValueError:
        pass  # a builtin that does not tell its signature


def check_optimizer(value: object) -> None:
    """Raises ArgumentError unless `value` is a known name or has the optimizer protocol."""
    methods = ('ask', 'tell', 'replay', 'is_alive')
    known = isinstance(value, str) and value in OPTIMIZERS
    if not known and (isinstance(value, (str, type)) or not all(callable(getattr(value, m, None)) for m in methods)):
        names = ', '.join(map(repr, OPTIMIZERS))
        raise ArgumentError('optimizer', value, f'{names}, or an object with {", ".join(methods)}')


def check_number(argument: str, value: object, positive: bool = False) -> float:
    """`value` as a float; raises ArgumentError unless it is finite, and > 0 if asked."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or (positive and value <= 0):  # type: ignore[arg-type,operator]
        raise ArgumentError(argument, value, 'a finite number' + (' > 0' if positive else ''))
    return float(value)  # type: ignore[arg-type]


def check_path(argument: str, value: object) -> str:
    """`value` as a path; raises ArgumentError unless it is one."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ArgumentError(argument, value, 'a path')
    return str(os.fspath(value))


def check_list(argument: str, value: Any) -> Sequence[Any]:
    """Raises ArgumentError unless `value` is a list or a tuple."""
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(argument, value, 'a list')
    return value


def check_device(value: object) -> str | None:
    """Raises ArgumentError unless torch can compute on the device; None is the CPU."""
    if value is None:
        return None
    try:
        device = torch.device(value)  # type: ignore[call-overload]
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError, TypeError
        raise ArgumentError('device', value, f"'cpu', or an accelerator that torch can use here ({error})") from error
    return str(device)
