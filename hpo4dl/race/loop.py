"""The loop: ask the optimizer which trial to train to which epoch, have it trained, record the result, tell it.

    stop = Loop(planner, storage, rules, workers, ...).run()

The order of what happens to a result is the whole guarantee: it counts from the moment that it is in the journal; then
its folder becomes the trial's checkpoint, then the incumbent's copy is made, then the optimizer is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import StorageError
from ..execution.engines import POLL, Call, LostCall, Workers
from ..execution.signals import Signals
from ..log import Log
from ..optimizers.protocol import Optimizer, tell
from ..records.state import RunState
from ..trial import Outcome, Trial
from .finishing import to_finish, unfinished
from .planner import Planned, Planner
from .stopping import Stop, StoppingRules, predicted_seconds
from .storage import Storage

SILENCE = 60.0
"""Seconds in which no call comes back, beside ten times what one takes, before people are told of it."""
PATIENCE = 0.5
"""Seconds that may pass until a signal, or the end of the time, is noticed."""

logger = Log(__name__)

Observer = Callable[[Trial, Mapping[int, float], 'str | None', RunState, int], None]
"""Is told of every result: the step, its metrics, why it failed, the state, and how many calls are running."""


@dataclass
class Loop:
    """One race, from where its state is to a stop. Its parts are given, so that each can be tested alone."""

    planner: Planner
    storage: Storage
    rules: StoppingRules
    workers: Workers
    signals: Signals
    observe: Observer
    take_requests: Callable[[Loop], None]
    """Does what other shells ask for, between two steps."""
    trial_timeout: float | None = None
    """Seconds after which a call is failed."""
    told_to_stop: str | None = None
    """By whom, if not by a signal."""
    heard_at: float = field(default_factory=time.monotonic)
    """When a call came back last; infinite once people were told that none does."""

    @property
    def state(self) -> RunState:
        return self.storage.state

    @property
    def optimizer(self) -> Optimizer:
        return self.planner.optimizer

    def run(self) -> Stop:
        """Train until a stop; says why. Raises as `Tuner.run`; ArgumentError if asked for a trial that is running."""
        while True:
            self.take_requests(self)
            stop = self._fill()
            if stop is not None and not self.workers.running:
                return stop
            self._collect()
            self._end_overdue()
            self._tell_of_silence()
            if self.workers.running and self.rules.deadline.is_over():
                return self._cut_short()

    def finish(self, top: int) -> Stop:
        """Train the `top` most promising trials to the end, or go on with those that were chosen before a break."""
        state, max_epochs = self.state, self.rules.budget.max_epochs
        self.planner.is_race = False
        self.storage.prune()
        if not unfinished(state, max_epochs):
            self.storage.recorder.finish(to_finish(self.optimizer, state, top))
        self.storage.bring_back(unfinished(state, max_epochs))
        if self.planner.asked is not None and self.planner.asked.id in state.finishing:
            self.planner.asked = None
        return self.run()

    def end_call(self, call: Call, reason: str, seconds: float = 0.0) -> None:
        """Wait for a call no more: it failed, for this reason, after so many seconds."""
        self.workers.give_up(call)
        self._settle(call, Outcome(failed=reason, seconds=seconds))

    def _fill(self) -> Stop | None:
        """Start calls as long as there is room; why nothing can be started now, None where a call must run alone."""
        rules, workers = self.rules, self.workers
        while True:
            signal, broken = self.signals.received or self.told_to_stop, workers.broken()
            stop = rules.now(self.state, signal, broken) if self.planner.is_race else rules.interrupted(signal, broken)
            if stop is not None:
                return stop
            if not workers.has_room():
                return Stop('every worker is occupied by a call that was given up (trial_timeout)', False)
            if self.planner.retries.must_isolate(workers.running):
                return None
            begin = time.perf_counter()
            planned = self.planner.next()
            if isinstance(planned, Stop):
                return planned
            stop = rules.before(planned.wanted, self.state) or self._start(planned, begin)
            if stop is not None:
                return stop

    def _start(self, planned: Planned, begin: float) -> Stop | None:
        """Start a call, and return None; or say that the budget does not allow it."""
        wanted = planned.wanted
        older = self.storage.last_attempt(wanted.id)
        starts_at = 0 if older is None else wanted.previous_epoch
        epoch = self.planner.affordable(planned, starts_at)
        if epoch <= wanted.previous_epoch:
            return self.planner.too_little_is_left()
        self.planner.started(planned)
        if starts_at < wanted.previous_epoch and self.storage.checkpoints.keep != 'none':
            logger.warning('trial %d is trained again from its start: its checkpoint was evicted', wanted.id)
        overhead = max(0.0, time.perf_counter() - begin)
        step = self.storage.recorder.start(wanted, epoch, starts_at, planned.by)
        step.overhead = overhead
        self.storage.keep_quota(len(self.workers.running) + 1)
        trial = replace(wanted, previous_epoch=starts_at, epoch=epoch, point=None)
        if not self.workers.submit(self.storage.checkpoints.begin(step.attempt, trial, older)):
            self.planner.retries.again(wanted.id, first=True)  # the executor is broken
        return None

    def _collect(self) -> None:
        """Wait for calls, and handle those that are done.

        No finished call is held longer than that: Dask computes it again, over its checkpoint, if its worker dies.
        """
        patience = PATIENCE if self.trial_timeout is None else POLL
        for call, outcome in self.workers.collect(min(patience, max(0.0, self.rules.deadline.remaining()))):
            self.heard_at = time.monotonic()
            failed = isinstance(outcome, LostCall) or outcome.failed is not None
            if failed and self.signals.received is not None:
                continue  # whoever signaled us may have ended the worker, too: the step stays, and is made again
            if isinstance(outcome, LostCall):
                self._settle(call, Outcome(failed=outcome.reason), outcome.attributable)
            elif outcome.storage is not None:
                raise StorageError(f'{outcome.storage}; what was reported before is safe')
            else:
                self._settle(call, outcome)

    def _settle(self, call: Call, outcome: Outcome, attributable: bool = True) -> None:
        """Acknowledge what came of a call; where it failed and may be made again, have it made again."""
        trial_id = call.attempt.trial.id
        step, checkpoints = self.state.running[trial_id], self.storage.checkpoints
        older = self.storage.last_attempt(trial_id)
        outcome = self.rules.budget.charged(outcome, step, self.state)
        if outcome.failed is not None:
            blamed = self.planner.retries.is_blamed(step, attributable)
            if self.planner.retries.grants(step, blamed, outcome.failed):
                self.storage.recorder.lost(step, outcome.failed, blamed)
                checkpoints.discard(trial_id, step.attempt, older)
                self.planner.retries.again(trial_id)
                logger.warning('trial %d: the call will be made again: %s', trial_id, outcome.failed)
                return
        if outcome.folder is not None:
            checkpoints.accept(trial_id, step.attempt, outcome.folder)
        finished = self.storage.recorder.result(step, outcome)
        if self.storage.last_attempt(trial_id) == step.attempt:
            checkpoints.adopt(trial_id, step.attempt, older)
        else:
            checkpoints.discard(trial_id, step.attempt, older)
        if finished.improved:
            checkpoints.publish(trial_id, step.attempt)
        tell(self.optimizer, step.trial, finished.metrics, finished.failed, finished.costs)
        self.storage.prune(trial_id)
        self.storage.keep_quota(len(self.workers.running))
        self.observe(step.trial, finished.metrics, finished.failed, self.state, len(self.workers.running))

    def _end_overdue(self) -> None:
        """Give up the calls that run longer than `trial_timeout`."""
        limit = self.trial_timeout
        if limit is None:
            return
        for call in list(self.workers.running.values()):
            if call.has_begun() and time.monotonic() - (call.started_at or 0) >= limit:
                self.end_call(call, f'trial_timeout: no result after {limit:g} seconds', limit)

    def _tell_of_silence(self) -> None:
        """Say where calls do not come back: no worker may be left, for which Dask, say, waits for ever."""
        silence, calls = time.monotonic() - self.heard_at, self.workers.running.values()
        if not calls or silence < SILENCE:
            return
        usual = max(predicted_seconds(call.attempt.trial, self.state) for call in calls)
        if silence >= SILENCE + 10 * usual and (usual > 0 or not any(call.has_begun() for call in calls)):
            self.heard_at = math.inf
            what = f'no call came back for {silence:.0f} seconds, {usual:.1f} are usual'
            logger.warning('%s: look whether the workers live; time_limit ends the race even if none does', what)

    def _cut_short(self) -> Stop:
        """Time is over: give up all calls."""
        calls = list(self.workers.running.values())
        for call in calls:
            self.workers.give_up(call)
        stop = self.rules.out_of_time('no call is started any more')
        return replace(stop, reason=f'{stop.reason}; {len(calls)} calls were cut short, and will be made again')
