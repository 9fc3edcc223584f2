"""The loop: ask the optimizer, train, write the journal, tell the optimizer; budgets, stops, resume."""

from __future__ import annotations

import logging
import math
import os
import secrets
import statistics
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from .analysis.report import read_run, summary
from .checks import (
    check_choice,
    check_count,
    check_device,
    check_flag,
    check_list,
    check_number,
    check_objective_function,
    check_path,
    check_seed,
    check_size,
)
from .errors import ArgumentError, EveryTrialFailedError, ExecutorError, JournalError, StorageError
from .execution.engines import (
    POLL,
    Call,
    Engine,
    LostCall,
    Workers,
    check_devices,
    check_picklable,
    engines_for,
)
from .execution.signals import Signals
from .execution.worker import Objective, Outcome
from .integrations.slurm import allocation_left
from .optimizers.base import BaseOptimizer
from .optimizers.registry import Optimizer, build, check_agrees, check_optimizer
from .progress import Callback, Event, is_watched, log_line, progress_display
from .records.checkpoints import KEEP, MODES, Checkpoints
from .records.csv_table import write_table
from .records.identity import Identity, claim, make_marked, mark, read_identity, refuse_link, write_identity
from .records.journal import SCHEMA, Journal, Lock
from .records.journal import Event as JournalEvent
from .records.run_folder import (
    Settings,
    make_run_folder,
    read_configuration_space,
    read_settings,
    write_run,
)
from .records.salvage import salvage_journal
from .records.state import Ledger, result_event
from .space.unit_cube import Space
from .text import brief
from .tools.warm_start import warm_start as read_warm_start
from .trial import Trial

MAX_FAILURES = 10
"""A run whose first so many calls all fail is stopped."""
INNOCENT = 3
"""Calls of a step that may be lost together with others' before one counts as the trial's own."""

logger = logging.getLogger(__name__)


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
        stop_when_gain_below: ends the race when training the most promising trial to the end is expected to improve
            the best metric by less, in its units; of optimizers that tell (`DyHPO.expected_gain`).
        initial_configurations: raced first.
        candidates: restricts the race to these configurations.
        warm_start: the folder of a previous run, whose best configurations are raced first, see `warm_start`.
        keep_checkpoints: 'alive' (default), 'all' or 'best', see `Checkpoints`.
        executor: where calls are made: None (here, or in processes of this machine), an object with PEP 3148's
            `submit`, or a callable that makes one, so that a broken one can be made anew.
        num_workers: calls at a time; default 1, in this process. With more and no executor: that many processes.
        devices: for processes of this machine, one accelerator a worker: `['cuda:0', 'cuda:1']`.
        retry: how often a call that failed, or whose worker died, is made again before its trial is failed; default 0.
        trial_timeout: seconds after which a call is failed; a single worker without executor is then a process.
        checkpoints: 'copy' (default): a call works on a copy of the trial's checkpoint; 'in-place': on itself.
        max_disk: bytes, or a text such as '20GB', that all checkpoints together may take.
        callbacks: called with an `Event` after every result. What they raise is logged.
        progress: a line that is written over; None: where stderr is a terminal or a notebook. Else a log line a result.

    Raises:
        ArgumentError: an argument cannot be used.
        JournalError: `warm_start` holds no run.
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
        stop_when_gain_below: float | None = None,
        initial_configurations: Sequence[Mapping[str, object]] = (),
        candidates: Sequence[Mapping[str, object]] | None = None,
        warm_start: str | os.PathLike[str] | None = None,
        keep_checkpoints: str = 'alive',
        executor: Any = None,
        num_workers: int = 1,
        devices: Sequence[str] | None = None,
        retry: int = 0,
        trial_timeout: float | None = None,
        checkpoints: str = 'copy',
        max_disk: int | str | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
    ) -> None:
        check_objective_function(objective_function)
        check_optimizer(optimizer)
        minimize = check_flag('minimize', minimize)
        named = optimizer if isinstance(optimizer, str) else None
        stops = (max_budget, time_limit, target, stop_when_gain_below)
        if stops == (None,) * 4 and named != 'hyperband':
            accepted = 'a whole number >= 1, unless time_limit, target or stop_when_gain_below is given'
            raise ArgumentError('max_budget', max_budget, accepted)
        space = Space(configuration_space, candidates)
        if warm_start is not None:
            start = read_warm_start(warm_start, configuration_space, candidates=candidates)
            logger.info('%s: %s', warm_start, start)
            initial_configurations = [*check_list('initial_configurations', initial_configurations)]
            initial_configurations += start.configurations
        for configuration in check_list('initial_configurations', initial_configurations):
            space.to_unit(configuration, 'initial_configurations')
        self.settings = Settings(
            max_epochs=check_count('max_epochs', max_epochs),
            max_budget=None if max_budget is None else check_count('max_budget', max_budget),
            optimizer=named,
            minimize=minimize,
            num_configurations=check_count('num_configurations', num_configurations),
            seed=check_seed(seed),
            device=check_device(device),
            storage_path=None if storage_path is None else os.path.abspath(check_path('storage_path', storage_path)),
            time_limit=None if time_limit is None else check_number('time_limit', time_limit, positive=True),
            target=None if target is None else check_number('target', target),
            stop_when_gain_below=None
            if stop_when_gain_below is None
            else check_number('stop_when_gain_below', stop_when_gain_below, positive=True),
            initial_configurations=[space.plain(dict(c)) for c in initial_configurations],
            candidates=None if candidates is None else [space.plain(dict(c)) for c in candidates],
            keep_checkpoints=check_choice('keep_checkpoints', keep_checkpoints, KEEP),
            checkpoints=check_choice('checkpoints', checkpoints, MODES),
            max_disk=None if max_disk is None else check_size('max_disk', max_disk),
            retry=check_count('retry', retry, least=0),
            trial_timeout=None if trial_timeout is None else check_number('trial_timeout', trial_timeout, True),
        )
        self._prepare(objective_function, configuration_space, space, optimizer, callbacks, progress)
        self._employ(executor, num_workers, devices)
        self.run_folder, self._identity = make_run_folder(
            check_path('output_path', output_path), self.settings.storage_path
        )
        self._open_folder(take_over=False, salvage=False)
        write_run(self.run_folder, self._identity, self.settings, configuration_space)
        make_marked(self._checkpoints.folder, self._identity, self.run_folder)
        self._journal.begin({'event': 'run', 'schema': SCHEMA, 'run': self.run_folder.name})

    @classmethod
    def resume(
        cls,
        run_folder: str | os.PathLike[str],
        objective_function: Objective,
        *,
        max_budget: int | None = None,
        time_limit: float | None = None,
        target: float | None = None,
        stop_when_gain_below: float | None = None,
        optimizer: Optimizer | None = None,
        configuration_space: ConfigurationSpace | None = None,
        executor: Any = None,
        num_workers: int = 1,
        devices: Sequence[str] | None = None,
        retry: int | None = None,
        trial_timeout: float | None = None,
        max_disk: int | str | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        take_over: bool = False,
        salvage: bool = False,
    ) -> Tuner:
        """A tuner that goes on with an interrupted run where its journal ends: `Tuner.resume(folder, f).run()`.

        Args:
            run_folder: the folder of the run.
            objective_function: as in `Tuner`.
            max_budget, time_limit, target, stop_when_gain_below, retry, trial_timeout, max_disk: replace the run's own
                where given.
            optimizer: a fresh object like the one the run was started with, if that was an object.
            configuration_space: where the installed ConfigSpace cannot read the one in the folder.
            executor, num_workers, devices: as in `Tuner`; they need not be those that the run was started with.
            callbacks, progress: as in `Tuner`.
            take_over: go on although the lock of another host lies in the folder.
            salvage: go on from what is whole of a damaged journal, which is kept beside the new one, and train trials
                whose checkpoint is gone again from the start.

        Raises:
            ArgumentError: an argument cannot be used.
            JournalError: the folder holds no run, or a damaged one.
        """
        check_objective_function(objective_function)
        check_flag('take_over', take_over)
        check_flag('salvage', salvage)
        tuner = cls.__new__(cls)
        tuner.run_folder = Path(os.path.realpath(check_path('run_folder', run_folder)))
        stored = read_settings(tuner.run_folder)
        tuner._identity = read_identity(tuner.run_folder) or Identity.new(tuner.run_folder.name)
        if stored.optimizer is None and optimizer is None:
            raise ArgumentError('optimizer', optimizer, 'an object like the one that the run was started with')
        if stored.optimizer is not None and optimizer is not None:
            raise ArgumentError('optimizer', optimizer, f'None: the run was started with {stored.optimizer!r}')
        if configuration_space is None:
            configuration_space = read_configuration_space(tuner.run_folder)
        replaced: dict[str, Any] = {}
        if max_budget is not None:
            replaced['max_budget'] = check_count('max_budget', max_budget)
        if time_limit is not None:
            replaced['time_limit'] = check_number('time_limit', time_limit, positive=True)
        if target is not None:
            replaced['target'] = check_number('target', target)
        if stop_when_gain_below is not None:
            replaced['stop_when_gain_below'] = check_number('stop_when_gain_below', stop_when_gain_below, positive=True)
        if retry is not None:
            replaced['retry'] = check_count('retry', retry, least=0)
        if trial_timeout is not None:
            replaced['trial_timeout'] = check_number('trial_timeout', trial_timeout, positive=True)
        if max_disk is not None:
            replaced['max_disk'] = check_size('max_disk', max_disk)
        tuner.settings = replace(stored, **replaced)
        plain_space = Space(configuration_space)
        candidates = None if stored.candidates is None else [plain_space.restore(c) for c in stored.candidates]
        space = Space(configuration_space, candidates) if candidates else plain_space
        chosen = optimizer if optimizer is not None else str(stored.optimizer)
        tuner._prepare(objective_function, configuration_space, space, chosen, callbacks, progress)
        tuner._employ(executor, num_workers, devices)
        tuner._open_folder(take_over, salvage)
        return tuner

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
        self._configuration_space = configuration_space
        self._space = space
        self.optimizer = build(self.settings, configuration_space) if isinstance(optimizer, str) else optimizer
        if isinstance(optimizer, BaseOptimizer):
            check_agrees(optimizer, self.settings, space)
        least_gain = self.settings.stop_when_gain_below
        if least_gain is not None and not hasattr(self.optimizer, 'expected_gain'):
            kind = type(self.optimizer).__name__
            raise ArgumentError('stop_when_gain_below', least_gain, f'None: {kind} expects nothing, DyHPO does')
        shows = is_watched(sys.stderr) if progress is None else check_flag('progress', progress)
        self._display = progress_display() if shows else None
        for callback in check_list('callbacks', callbacks):
            if not callable(callback):
                raise ArgumentError('callbacks', callback, 'functions that take one event')
        self._callbacks = [self._display or log_line, *callbacks]
        self.stopped = None
        self._signals = Signals()
        self._ledger = Ledger(space, self.settings.minimize)
        self._again: deque[int] = deque()
        """Trials whose call is to be made again."""
        self._asked: Trial | None = None
        """A step that the optimizer decided on and that has not begun."""
        self._left_whole = False
        self._gain = math.inf
        self._largest = 0
        self._said_too_much = False
        self._results_to_prune = 0

    def _employ(self, executor: Any, num_workers: int, devices: Sequence[str] | None) -> None:
        n = check_count('num_workers', num_workers)
        if executor is not None and devices is not None:
            raise ArgumentError('devices', devices, 'None with an executor: its workers have theirs from their engine')
        seen = check_devices(devices, n)
        own_process = executor is None and (n > 1 or seen is not None or self.settings.trial_timeout is not None)
        if own_process or isinstance(executor, ProcessPoolExecutor):
            check_picklable(self.objective_function)
        self._workers = Workers(engines_for(executor, n, seen, own_process))

    def _open_folder(self, take_over: bool, salvage: bool) -> None:
        self._take_over = take_over
        self._salvage = salvage
        self._journal = Journal(self.run_folder)
        self._checkpoints = self._checkpoints_of(self._identity)

    def _checkpoints_of(self, identity: Identity) -> Checkpoints:
        storage, keep, mode = self.settings.storage_path, self.settings.keep_checkpoints, self.settings.checkpoints
        folder = self.run_folder / 'checkpoints' if storage is None else Path(storage) / identity.name
        refuse_link(folder)
        return Checkpoints(folder, self.run_folder / 'best_trial', keep, mode)

    @property
    def epochs_spent(self) -> int:
        """Epochs trained so far, over all trials; a failed call counts with what it was asked for."""
        return self._ledger.spent

    @property
    def incumbent(self) -> dict[str, Any] | None:
        """The best so far, as `run` returns it."""
        return None if self._ledger.best is None else dict(self._ledger.best)

    def run(self) -> dict[str, Any]:
        """Race until a stop: the budget, the time limit, the target, a signal, or nothing left to train.

        Returns:
            The incumbent: `configuration`, `configuration_id`, `epoch`, `metric`, what else the objective function
            returned with it, and `time`, `overhead_time`, `total_time` (seconds an epoch).

        Raises:
            ArgumentError: the objective function cannot be sent to the executor's workers.
            EveryTrialFailedError: no call gave a usable metric.
            ExecutorError: the workers do not start.
            StorageError: the run's folder could not be written.
            RunLockedError: another tuner works on the folder.
        """
        self._began = time.monotonic()
        self._allocation_ends = self._began + allocation_left()
        with Lock(self.run_folder, self._take_over) as self._lock, self._signals.watched():
            self._take_up()
            try:
                self.stopped = reason = self._race()
                self._record({'event': 'stop', 'reason': reason, **self._outlook()})
                if self._ended:
                    self._checkpoints.end()
                self._left_whole = True
            finally:
                self._workers.close()
                if self._display is not None and self._ledger.attempts:
                    self._display.close()
                write_table(self.run_folder, self._space, self.settings.minimize)
        self._say_what_came_of_it()
        if self._ledger.best is None:
            broken = self._workers.broken()
            raise ExecutorError(reason) if broken else EveryTrialFailedError(self._common_failures())
        return dict(self._ledger.best)

    def _outlook(self) -> dict[str, float]:
        """What more training is expected to bring, for the report."""
        gain = self._expected_gain()
        return {'expected_gain': gain} if math.isfinite(gain) else {}

    def _take_up(self) -> None:
        """Bring optimizer, ledger and checkpoints to where the journal ends; what `run` did before counts too."""
        if not self._left_whole:
            if self._ledger.attempts:  # left by an exception, which may have come between any two steps
                if self.settings.optimizer is None:
                    raise JournalError(f'{self.run_folder}: `run` was left by an exception: go on with Tuner.resume')
                self.optimizer = build(self.settings, self._configuration_space)
            if self._salvage:
                salvage_journal(self._journal)
            self._journal.mend()
            self._ledger, self._asked = Ledger(self._space, self.settings.minimize), None
            self._ledger.fold(self._journal, self.optimizer)
            self._claim_checkpoints()
            self._take_up_checkpoints()
        self._left_whole = False
        self._again = deque(self._ledger.running)

    def _claim_checkpoints(self) -> None:
        """See that the folder of checkpoints is this run's; a copy of a run does not take the original's."""
        if read_identity(self.run_folder) is None:  # of an hpo4dl that gave runs none
            write_identity(self.run_folder, self._identity)
            folder = self._checkpoints.folder
            if folder.parent == self.run_folder and folder.is_dir() and not folder.is_symlink():
                mark(folder, self._identity, self.run_folder)
        original = claim(self._checkpoints.folder, self._identity, self.run_folder)
        if original is None:
            return
        if not self._salvage:
            raise StorageError(
                f'{self.run_folder}: a copy of {original}, whose checkpoints lie in {self._checkpoints.folder}: go on '
                'with that one; resume(..., salvage=True) goes on with the copy, in a folder of its own, and trains '
                'again from the start what is wanted'
            )
        self._identity = Identity.new(f'{self._identity.name}-{secrets.token_hex(4)}')
        write_identity(self.run_folder, self._identity)
        self._checkpoints = self._checkpoints_of(self._identity)

    def _take_up_checkpoints(self) -> None:
        left, best = self._ledger.left, self._ledger.best
        self._miss_checkpoints()
        if self._reason_to_stop() is None:
            make_marked(self._checkpoints.folder, self._identity, self.run_folder)
        self._checkpoints.restore(left)
        if best is not None and left.get(best['configuration_id']) == self._ledger.best_attempt:
            if self._checkpoints.has(best['configuration_id'], self._ledger.best_attempt):
                self._checkpoints.publish(best['configuration_id'], self._ledger.best_attempt)
        self._prune()

    def _miss_checkpoints(self) -> None:
        """Look whether all checkpoints are there that the journal names and that may be needed."""
        needed = {i: n for i, n in self._ledger.left.items() if self._is_kept(i)}
        missing = [i for i, attempt in needed.items() if not self._checkpoints.has(i, attempt)]
        if missing and not self._salvage and self._reason_to_stop() is None:
            raise StorageError(
                f'{self._checkpoints.folder}: the checkpoints of trials {missing[:10]} are gone, so the race cannot go '
                "on (keep_checkpoints='best' removes them when a run has ended); resume(..., salvage=True) trains "
                'them again from the start when they are wanted'
            )
        for trial_id in missing if self._salvage else ():
            self._evict(trial_id, 'its checkpoint is gone')

    def _race(self) -> str:
        """Train until a stop; returns why."""
        while True:
            reason = self._reason_to_stop()
            while reason is None and (engine := self._workers.free()) is not None and not self._suspects():
                begin = time.perf_counter()
                wanted = self._next()
                if wanted is not None and self._is_too_late_for(wanted):
                    reason = self._time_is_over(f'the next call takes {self._seconds_of(wanted):.1f}, it is predicted')
                    break
                if wanted is None or not self._start(wanted, engine, begin):
                    break
                reason = self._reason_to_stop()
            if not self._workers.calls:
                return reason or self._stuck()
            for call in self._workers.wait(self._pause()):
                self._finish(call)
            self._end_overdue()
            if self._workers.calls and self._over_time():
                n = len(self._workers.calls)
                self._workers.give_up()
                return f'{self._reason_to_stop()}; {n} calls were cut short, and will be made again'

    def _suspects(self) -> bool:
        """To start nothing now? A call lost with others is made again alone, to tell whose fault it was."""
        calls = self._workers.calls
        waiting = self._again and calls and self._ledger.running[self._again[0]].innocent > 0
        return bool(waiting) or any(self._ledger.running[trial_id].innocent > 0 for trial_id in calls)

    def _stuck(self) -> str:
        """Why nothing runs and nothing can be started, although no stop is reached."""
        self._ended = False
        if self._workers.free() is None:
            return 'every worker is occupied by a call that was given up (trial_timeout)'
        least = self.settings.stop_when_gain_below
        if least is not None and self._gain < least and not self._again and self._asked is None:
            self._ended = True
            return f'stop_when_gain_below: more training is expected to improve the best metric by {self._gain:.2g}'
        if self._again or self._asked is not None:
            return f'max_budget: the {self._budget_left()} epochs that are left do not suffice for the next step'
        self._ended = True
        return 'nothing is left to train: every configuration was trained to the end or failed, or all rounds are over'

    def _reason_to_stop(self) -> str | None:
        settings, best, broken = self.settings, self._ledger.best, self._workers.broken()
        self._ended = False
        if self._signals.received is not None:
            return f'{self._signals.received}: {self._go_on()}'
        if self._over_time():
            return self._time_is_over('no call is started any more')
        if broken is not None:
            return f'the executor is broken ({broken}): {self._go_on()}'
        self._ended = True
        if settings.max_budget is not None and self._ledger.spent >= settings.max_budget:
            return f'max_budget: {self._ledger.spent} epochs are trained'
        if settings.target is not None and best is not None and not self._ledger.is_better(settings.target, best):
            return f'target: {best["metric"]} is reached'
        if sum(self._ledger.failures.values()) >= MAX_FAILURES:
            return f'the first {MAX_FAILURES} calls of the objective function failed'
        return None

    def _go_on(self) -> str:
        return f'go on with Tuner.resume({str(self.run_folder)!r}, objective_function).run()'

    def _time_left(self) -> float:
        """Seconds until no call may run any more: by `time_limit`, or by the end of the Slurm job that this runs in."""
        limit = self.settings.time_limit
        end = math.inf if limit is None else self._began + limit
        return min(end, self._allocation_ends) - time.monotonic()

    def _over_time(self) -> bool:
        return self._time_left() <= 0

    def _time_is_over(self, why: str) -> str:
        """The reason to stop, and how to go on."""
        self._ended = False
        limit = self.settings.time_limit
        own = limit is not None and self._began + limit <= self._allocation_ends
        name = 'time_limit' if own else 'the end of the Slurm job'
        return f'{name}: {max(0.0, self._time_left()):.1f} seconds are left, {why}: {self._go_on()}'

    def _is_too_late_for(self, wanted: Trial) -> bool:
        """Whether a call is predicted not to finish in time; then none is started, so that the order stays the same."""
        left = self._time_left()
        return left < math.inf and left < self._seconds_of(wanted)  # the median of all paces is not for every step

    def _seconds_of(self, wanted: Trial) -> float:
        """What a call will take, by the trial's own last one; by the median of all trials' if it has none."""
        paces = self._ledger.paces
        pace = paces.get(wanted.id)
        if pace is None:
            pace = statistics.median(paces.values()) if paces else 0.0
        return pace * (wanted.epoch - (wanted.previous_epoch if wanted.id in self._ledger.left else 0))

    def _pause(self) -> float:
        """Seconds until something may have to be done although no call has ended."""
        return POLL if self.settings.trial_timeout is not None else min(0.5, max(0.0, self._time_left()))

    def _next(self) -> Trial | None:
        """The step to start now, as the optimizer wants it; None: there is none that the budget allows."""
        if self._again:
            return self._ledger.running[self._again[0]].wanted
        if self._asked is None and self._budget_left() > 0 and not self._gains_too_little():
            self._asked = self.optimizer.ask()
            if self._asked is not None and self._asked.id in self._ledger.running:
                raise ArgumentError('optimizer', self._asked, 'one that asks for no trial that is running')
        return self._asked

    def _gains_too_little(self) -> bool:
        """Whether `stop_when_gain_below` is reached; looked at before each decision."""
        least = self.settings.stop_when_gain_below
        if least is not None:
            self._gain = self._expected_gain()
        return least is not None and self._gain < least

    def _expected_gain(self) -> float:
        """As the optimizer expects it; infinite if it cannot tell."""
        expected_gain = getattr(self.optimizer, 'expected_gain', None)
        return math.inf if expected_gain is None else float(expected_gain())

    def _budget_left(self) -> float:
        """Epochs that nobody trains yet."""
        if self.settings.max_budget is None:
            return math.inf
        running = sum(self._ledger.running[trial_id].cost for trial_id in self._workers.calls)
        return self.settings.max_budget - self._ledger.spent - running

    def _start(self, wanted: Trial, engine: Engine, begin: float) -> bool:
        """Start a call; False: the budget does not allow it."""
        ledger, left = self._ledger, self._ledger.left.get(wanted.id)
        begins_at = 0 if left is None else wanted.previous_epoch
        epoch = int(min(wanted.epoch, begins_at + self._budget_left()))
        if epoch <= wanted.previous_epoch:
            return False
        if self._again:
            self._again.popleft()
        self._asked = None
        number = ledger.attempts
        event: JournalEvent = {'event': 'start', 'attempt': number, 'trial': wanted.id}
        event |= {'previous_epoch': begins_at, 'epoch': epoch}
        if begins_at == 0:
            event['configuration'] = self._space.plain(wanted.configuration)
        if epoch < wanted.epoch:
            event['wanted'] = wanted.epoch
        if begins_at < wanted.previous_epoch:
            event['acknowledged'] = wanted.previous_epoch
            logger.warning('trial %d is trained again from its start: its checkpoint was evicted', wanted.id)
        ledger.configurations.setdefault(wanted.id, wanted.configuration)
        overhead = time.perf_counter() - begin
        self._record(event, sync=False)  # the result's line brings it to the disk
        ledger.start(event)
        ledger.running[wanted.id].overhead = overhead
        self._make_room(starting=1)
        trial = replace(wanted, previous_epoch=begins_at, epoch=epoch)
        call = engine.submit(self.objective_function, self._checkpoints.begin(number, trial, left))
        if call is None:  # the executor is broken
            self._again.appendleft(wanted.id)
        else:
            self._workers.calls[wanted.id] = call
        return True

    def _finish(self, call: Call) -> None:
        """Take what a call gave that is done."""
        outcome = call.engine.outcome(call, self.objective_function)
        del self._workers.calls[call.attempt.trial.id]
        if isinstance(outcome, LostCall) and self._signals.received is not None:
            pass  # whoever ends us may have ended the worker, too: the step stays undecided, and is made again
        elif isinstance(outcome, LostCall):
            self._settle(call, Outcome(failed=outcome.reason), outcome.counts)
        elif outcome.failed is not None and self._signals.received is not None:
            pass  # nor can it be told whether the signal, which whole process groups receive, was what it failed of
        elif outcome.storage is not None:
            raise StorageError(f'{outcome.storage}; what was reported before is safe')
        else:
            self._settle(call, outcome)

    def _end_overdue(self) -> None:
        """Give up the calls whose time is over."""
        limit = self.settings.trial_timeout
        if limit is None:
            return
        for trial_id, call in list(self._workers.calls.items()):
            if call.has_begun() and time.monotonic() - (call.began or 0) >= limit:
                del self._workers.calls[trial_id]
                call.engine.give_up(call)
                self._settle(call, Outcome(failed=f'trial_timeout: no result after {limit:g} seconds', seconds=limit))

    def _settle(self, call: Call, report: Outcome, counts: bool = True) -> None:
        """A call is over: make it again if it failed and may be, else acknowledge what came of the step."""
        number, trial_id = call.attempt.number, call.attempt.trial.id
        step = self._ledger.running[trial_id]
        counts = counts or step.innocent >= INNOCENT
        left = self._ledger.left.get(trial_id)
        if report.failed is not None and not (counts and step.losses >= self.settings.retry):
            event: JournalEvent = {'event': 'lost', 'attempt': number, 'trial': trial_id}
            event |= {'reason': report.failed, 'counts': counts}
            self._record(event)
            self._ledger.lost(event)
            self._checkpoints.discard(trial_id, number, left)
            self._again.append(trial_id)
            logger.warning('trial %d: the call will be made again: %s', trial_id, report.failed)
            return
        new = {epoch: metric for epoch, metric in report.metrics.items() if epoch > step.trial.previous_epoch}
        event = result_event(number, trial_id, replace(report, metrics=new), step.overhead)
        self._record(event)
        ending = self._ledger.result(event)
        if self._ledger.left.get(trial_id) == number:
            self._checkpoints.adopt(trial_id, number, left)
        else:
            self._checkpoints.discard(trial_id, number, left)
        if ending.improved:
            self._checkpoints.publish(trial_id, number)
        self.optimizer.tell(step.trial, ending.report.metrics, ending.report.failed)
        self._prune(trial_id)
        self._make_room()
        self._notify(step.trial, ending.report)

    def _record(self, event: JournalEvent, sync: bool = True) -> None:
        """Write to the journal, which is still ours."""
        self._lock.check()
        self._journal.append(event, sync)

    def _prune(self, told: int | None = None) -> None:
        """Remove the checkpoints of trials that are not alive: of the one just told, and now and then of all."""
        if self._checkpoints.keep == 'all':
            return
        left = self._ledger.left
        self._results_to_prune -= 1
        if told is None or self._results_to_prune <= 0:
            self._results_to_prune = len(left) // 50  # so that its time stays in proportion
            dead = [i for i in left if not self._is_kept(i)]
        else:
            dead = [told] if told in left and not self.optimizer.is_alive(told) else []
        for trial_id in dead:
            self._ledger.drop(trial_id)
            self._checkpoints.drop(trial_id)

    def _is_kept(self, trial_id: int) -> bool:
        """Whether a trial's checkpoint stays: it may be asked for again, or all are kept."""
        alive = trial_id in self._ledger.running or self.optimizer.is_alive(trial_id)
        return self._checkpoints.keep == 'all' or alive

    def _make_room(self, starting: int = 0) -> None:
        """Keep to `max_disk`: evict the checkpoints of the least promising paused trials, never the incumbent's.

        Every call that runs or starts, and the copy of a new incumbent, may take as much as the largest checkpoint.
        """
        limit, ledger = self.settings.max_disk, self._ledger
        if limit is None:
            return
        sizes = ledger.sizes
        self._largest = max(self._largest, *sizes.values(), 0)
        expected = (len(self._workers.calls) + starting + 1) * self._largest
        too_much = sum(sizes.values()) + self._checkpoints.best_size + expected - limit
        if too_much <= 0:
            return
        best = None if ledger.best is None else ledger.best['configuration_id']
        priority = getattr(self.optimizer, 'checkpoint_priority', ledger.values.__getitem__)
        paused = [i for i in ledger.left if i not in ledger.running and i != best]
        for trial_id in sorted(paused, key=lambda i: (self.optimizer.is_alive(i), priority(i))):
            if too_much > 0 and sizes[trial_id] > 0:
                too_much -= sizes[trial_id]
                self._evict(trial_id, f'max_disk: {limit} bytes')
        if too_much > 0 and not self._said_too_much:
            self._said_too_much = True
            logger.warning('max_disk: the checkpoints of what runs and of the incumbent alone may exceed it')

    def _evict(self, trial_id: int, reason: str) -> None:
        self._record({'event': 'evict', 'trial': trial_id, 'reason': reason})
        self._ledger.drop(trial_id)
        self._checkpoints.drop(trial_id)
        logger.info('the checkpoint of trial %d is removed: %s', trial_id, reason)

    def _notify(self, trial: Trial, report: Outcome) -> None:
        seconds = time.monotonic() - self._began
        spent, budget = self._ledger.spent, self.settings.max_budget
        running = len(self._workers.calls)
        event = Event(trial, report.metrics, report.failed, self.incumbent, spent, budget, seconds, running)
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                logger.exception('the callback %s failed; the race goes on', brief(callback))

    def _say_what_came_of_it(self) -> None:
        """A short table: below the progress on a terminal, else in the log."""
        try:
            text = summary(read_run(self.run_folder))
        except Exception:
            logger.exception('%s cannot be summed up', self.run_folder)
            return
        if self._display is not None:
            sys.stderr.write(f'{text}\n')
        else:
            logger.info('%s', text)

    def _common_failures(self) -> str:
        failures = self._ledger.failures.most_common(3)
        reasons = '; '.join(f'{n} times {reason!r}' for reason, n in failures) or self.stopped
        trace = self._ledger.last_traceback
        return f'no call of the objective function gave a usable metric: {reasons}\n{trace}'.rstrip()
