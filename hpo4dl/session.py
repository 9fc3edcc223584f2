"""A session with one run: taken up from its folder, raced, ended, and as often as its `run` is called."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .errors import EveryTrialFailedError, ExecutorError, JournalError
from .execution.engines import Workers
from .execution.signals import Signals
from .files import storage_errors
from .observers import Observers
from .optimizers.protocol import Optimizer
from .parts import build_optimizer
from .periphery import command_to_go_on, salvage, taker_of_requests
from .race.budget import Budget
from .race.loop import Loop
from .race.planner import Planner
from .race.resuming import claim_checkpoints, follow_journal
from .race.retries import Retries
from .race.stopping import Deadline, Stop, StoppingRules, allocation_left
from .race.storage import Storage
from .records.checkpoints import Checkpoints
from .records.csv_table import write_table
from .records.disk_quota import DiskQuota
from .records.identity import Identity, make_marked
from .records.journal import Journal
from .records.lock import Lock
from .records.recorder import Recorder
from .records.state import RunState
from .settings import Settings
from .space.unit_cube import Space
from .trial import Incumbent, Trial


@dataclass
class Session:
    """Brings a run on, from where its journal ends to the next stop. `take_over` and `salvage` as in `Tuner.resume`."""

    run_folder: Path
    """Absolute, with settings and a journal in it."""
    identity: Identity
    settings: Settings
    space: Space
    optimizer: Optimizer
    """Knows nothing before the first `run`."""
    workers: Workers
    observers: Observers
    take_over: bool = False
    salvage: bool = False
    stopped: str | None = None
    """Why the last `run` ended."""

    def __post_init__(self) -> None:
        self.state = RunState(self.settings.minimize, self.space.restore)
        self._journal = Journal(self.run_folder)
        self._signals = Signals()
        self._asked: Trial | None = None
        """A step that the optimizer decided on and that has not begun."""
        self._is_current = False
        """Whether optimizer and state are where the journal ends."""
        self._has_raced = False
        """Whether the optimizer may have been asked, maybe for a step that never came into the journal."""

    def run(self, finish: int | None = None) -> Incumbent:
        """Race until a stop, or train so many trials to the end; arguments and errors as of `Tuner`'s methods."""
        with storage_errors(self.run_folder):
            stop = self._race(finish)
            incumbent = self.state.incumbent_row()
            needs_more = incumbent is not None and (stop.is_final or stop.reason.startswith('max_budget'))
            self.observers.people.end(self.run_folder, self._how_to_go_on(finish, needs_more))
        if incumbent is None:
            raise self._nothing_found(stop)
        return incumbent

    def _race(self, finish: int | None) -> Stop:
        """Hold the run's lock from where its journal ends to a stop."""
        deadline, lock = Deadline(self.settings.time_limit, allocation_left()), Lock(self.run_folder, self.take_over)
        with lock, self._signals.watched(), closing(self._journal):
            loop = self._take_up(lock, deadline, finish)
            self.observers.people.begin(self.run_folder, self.state, self.settings.metric_name)
            try:
                stop = loop.run() if finish is None else loop.finish(finish)
                self.stopped, planner = stop.reason, loop.planner
                loop.storage.recorder.stop(stop.reason, planner.expected_gain(), planner.expected_metric())
                if stop.is_final:
                    loop.storage.checkpoints.end()
                self._is_current, self._asked = True, loop.planner.asked
            except BaseException as error:
                self.observers.interrupted(error, self._how_to_go_on(finish))
                raise
            finally:
                self.workers.close()
                self.observers.people.close()
                write_table(self.run_folder, self.state)
        return stop

    def _how_to_go_on(self, finish: int | None, needs_more: bool = False) -> str:
        """The last line of a run, for people: what to type to go on with race or `finish`, or with a larger budget."""
        is_named = self.settings.optimizer is not None and self.workers.is_this_process()
        finish = None if needs_more else finish
        command = command_to_go_on(self.run_folder, self.workers.objective_function if is_named else None, finish)
        if command is not None:
            return f'hpo4dl: to go on: {command}{" --max-budget N" if needs_more else ""}'
        more, call = ', max_budget=N' if needs_more else '', 'run()' if finish is None else f'finish({finish})'
        return f'hpo4dl: to go on: Tuner.resume({str(self.run_folder)!r}, objective_function{more}).{call}'

    def _take_up(self, lock: Lock, deadline: Deadline, finish: int | None) -> Loop:
        """The loop, with optimizer, state and checkpoints where the journal ends."""
        if finish is not None and self._asked is not None and self.settings.optimizer is not None:
            self._is_current = False  # the optimizer knows of a step that is not in the journal
        if not self._is_current:
            self._forget()
            if self.salvage:
                salvage(self._journal)
            follow_journal(self._journal, self.state, self.optimizer, lock)
            storage_path = self.settings.storage_path
            self.identity = claim_checkpoints(self.run_folder, self.identity, storage_path, self.salvage)
        else:
            self._journal.take(lock.check, lock.taken_over)
        loop = self._loop(lock, deadline)
        trains_on = finish is not None  # keep_checkpoints='best' may have removed the folder when the race ended
        if not self._is_current:
            if self.state.attempts and self.state.stopped is None:
                loop.storage.recorder.resume()
            races_on = loop.rules.now(self.state, self._signals.received, self.workers.broken()) is None
            loop.storage.take_up(races_on and finish is None, self.salvage)
            trains_on = trains_on or races_on
        if trains_on:
            make_marked(loop.storage.checkpoints.folder, self.identity, self.run_folder)
        self._is_current, self._has_raced = False, True
        return loop

    def _forget(self) -> None:
        """Go back to the beginning, where an earlier `run` was left by an exception, between any two steps."""
        if self.state.attempts or self._has_raced:
            if self.settings.optimizer is None:
                raise JournalError(f'{self.run_folder}: `run` was left by an exception: go on with Tuner.resume')
            self.optimizer = build_optimizer(self.settings, self.space)
        self.state, self._asked = RunState(self.settings.minimize, self.space.restore), None

    def _loop(self, lock: Lock, deadline: Deadline) -> Loop:
        """The loop over state and optimizer as they are."""
        settings = self.settings
        folder = self.identity.checkpoint_folder(self.run_folder, settings.storage_path)
        best, keep, mode = self.run_folder / 'best_trial', settings.keep_checkpoints, settings.checkpoints
        checkpoints = Checkpoints(folder, best, keep, mode, lock.check)
        recorder = Recorder(self._journal, lock, self.state, self.space.plain)
        storage = Storage(checkpoints, DiskQuota(settings.max_disk), recorder, self.optimizer)
        budget = Budget(settings.max_budget, settings.cost, settings.max_epochs)
        retries, least_gain = Retries(self.state, settings.retry), settings.stop_when_gain_below
        failures = 0 if self.state.stopped is None else sum(self.state.failures.values())
        return Loop(
            planner=Planner(self.optimizer, budget, retries, storage, self.workers, least_gain, self._asked),
            storage=storage,
            rules=StoppingRules(deadline, budget, settings.target, failures),
            workers=self.workers,
            signals=self._signals,
            observe=partial(self.observers.tell, deadline=deadline),
            trial_timeout=settings.trial_timeout,
            take_requests=taker_of_requests(self.run_folder),
        )

    def _nothing_found(self, stop: Stop) -> Exception:
        if self.workers.broken():
            return ExecutorError(stop.reason)
        failures = self.state.failures.most_common(3)
        reasons = '; '.join(f'{n} times {reason!r}' for reason, n in failures) or stop.reason
        what = f'no call of the objective function gave a usable metric: {reasons}\n{self.state.last_traceback}'
        return EveryTrialFailedError(what.rstrip())
