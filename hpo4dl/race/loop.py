"""The loop: ask the optimizer which trial to train to which epoch, have it trained, record the result, tell it.

    stop = Loop(optimizer, recorder, checkpoints, quota, workers, retries, rules, ...).run()

The order of what happens to a result is the whole guarantee: it counts from the moment that it is in the journal; then
its folder becomes the trial's checkpoint, then the incumbent's copy is made, then the optimizer is told.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ArgumentError, StorageError
from ..execution.engines import POLL, Call, LostCall, Workers
from ..execution.signals import Signals
from ..optimizers.protocol import Forecasts, Optimizer, Prioritizes, TakesRequests
from ..records.checkpoints import Checkpoints
from ..records.disk_quota import DiskQuota
from ..records.recorder import Recorder
from ..records.requests import Requests
from ..records.state import RunState
from ..text import one_line
from ..trial import Outcome, Trial
from .retries import Retries
from .stopping import Stop, StoppingRules

GIVEN_UP = 'given up: hpo4dl stop --trial'
PATIENCE = 0.5
"""Seconds that may pass until a signal, or the end of the time, is noticed."""

logger = logging.getLogger(__name__)

Observer = Callable[[Trial, Mapping[int, float], 'str | None', RunState, int], None]
"""Is told of every result: the step, its metrics, why it failed, the state, and how many calls are running."""


@dataclass
class Loop:
    """One race, from where its state is to a stop. Its parts are given, so that each can be tested alone."""

    optimizer: Optimizer
    recorder: Recorder
    checkpoints: Checkpoints
    quota: DiskQuota
    workers: Workers
    retries: Retries
    rules: StoppingRules
    signals: Signals
    observe: Observer
    trial_timeout: float | None = None
    """Seconds after which a call is failed."""
    least_gain: float | None = None
    """`stop_when_gain_below`."""
    asked: Trial | None = None
    """A step that the optimizer decided on and that has not begun."""
    requests: Requests = field(default_factory=Requests)
    """What other shells ask for."""
    told_to_stop: str | None = None
    """By whom, if not by a signal."""

    @property
    def state(self) -> RunState:
        return self.recorder.state

    def run(self) -> Stop:
        """Train until a stop; says why. Raises as `Tuner.run`; ArgumentError if asked for a trial that is running."""
        while True:
            self._take_requests()
            stop = self._fill()
            if stop is not None and not self.workers.running:
                return stop
            self._collect()
            self._end_overdue()
            if self.workers.running and self.rules.deadline.is_over():
                return self._cut_short()

    def prune(self, told: int | None = None) -> None:
        """Remove the checkpoints of trials that are not alive: of the one just told, and now and then of all."""
        for trial_id in self.checkpoints.unneeded(self.state.checkpoints, self.needs_checkpoint, told):
            del self.state.checkpoints[trial_id]
            self.checkpoints.drop(trial_id)

    def needs_checkpoint(self, trial_id: int) -> bool:
        """Whether the trial may be asked for again, or is running."""
        if trial_id in self.state.running:
            return True
        return self.checkpoints.keep != 'none' and self.optimizer.is_alive(trial_id)

    def evict(self, trial_id: int, reason: str) -> None:
        """Remove the checkpoint of a trial that may be asked for again: it will be trained from its start then."""
        self.recorder.evict(trial_id, reason)
        self.checkpoints.drop(trial_id)
        logger.info('the checkpoint of trial %d is removed: %s', trial_id, reason)

    def expected_gain(self) -> float:
        """As the optimizer expects it; infinite if it cannot tell."""
        return float(self.optimizer.expected_gain()) if isinstance(self.optimizer, Forecasts) else math.inf

    def _fill(self) -> Stop | None:
        """Start calls as long as there is room; why nothing can be started now, None where a call must run alone."""
        while True:
            stop = self.rules.now(self.state, self.signals.received or self.told_to_stop, self.workers.broken())
            if stop is not None:
                return stop
            if not self.workers.has_room():
                return Stop('every worker is occupied by a call that was given up (trial_timeout)', False)
            if self.retries.must_isolate(self.workers.running):
                return None
            begin = time.perf_counter()
            wanted = self._next()
            if isinstance(wanted, Stop):
                return wanted
            stop = self.rules.before(wanted, self.state) or self._start(wanted, begin)
            if stop is not None:
                return stop

    def _next(self) -> Trial | Stop:
        """The step to start now, as the optimizer wants it; or why there is none."""
        again = self.retries.next()
        if again is not None:
            return again.wanted
        if self.asked is None:
            if self._budget_left() <= 0:
                return self._budget_too_small()
            if self.least_gain is not None and (gain := self.expected_gain()) < self.least_gain:
                why = f'more training is expected to improve the best metric by {gain:.2g}'
                return Stop(f'stop_when_gain_below: {why}', True)
            self.asked = self.optimizer.ask()
        if self.asked is None:
            why = 'every configuration was trained to the end or failed, or all rounds are over'
            return Stop(f'nothing is left to train: {why}', True)
        if self.asked.id in self.state.running:
            raise ArgumentError('optimizer', self.asked, 'one that asks for no trial that is running')
        return self.asked

    def _start(self, wanted: Trial, begin: float) -> Stop | None:
        """Start a call, and return None; or say that the budget does not allow it."""
        older = self._last_attempt(wanted.id)
        starts_at = 0 if older is None else wanted.previous_epoch
        epoch = int(min(wanted.epoch, starts_at + self._budget_left()))
        if epoch <= wanted.previous_epoch:
            return self._budget_too_small()
        if self.retries.next() is not None:
            self.retries.started()
        self.asked = None
        if starts_at < wanted.previous_epoch and self.checkpoints.keep != 'none':
            logger.warning('trial %d is trained again from its start: its checkpoint was evicted', wanted.id)
        overhead = time.perf_counter() - begin
        step = self.recorder.start(wanted, epoch, starts_at)
        step.overhead = overhead
        self._keep_quota(starting=1)
        trial = replace(wanted, previous_epoch=starts_at, epoch=epoch, point=None)
        if not self.workers.submit(self.checkpoints.begin(step.attempt, trial, older)):
            self.retries.again(wanted.id, first=True)  # the executor is broken
        return None

    def _take_requests(self) -> None:
        """Do what other shells ask for; what would come between a decision and its step waits."""
        for path, request in self.requests.pending():
            try:
                is_done = self._is_taken(request)
            except (ArgumentError, KeyError, TypeError, ValueError) as error:
                logger.warning('%s asks for what cannot be: %s', path, one_line(error))
                is_done = True
            if is_done:
                path.unlink(missing_ok=True)

    def _is_taken(self, request: Mapping[str, Any]) -> bool:
        """Do what a request asks for; False: not yet. Raises where it asks for what cannot be."""
        kind = request['kind']
        if kind == 'stop':
            self.told_to_stop = 'hpo4dl stop'
            return True
        if not isinstance(self.optimizer, TakesRequests):
            raise ArgumentError('optimizer', self.optimizer, 'one with `enqueue` and `give_up`')
        if kind == 'enqueue':
            if self.asked is None:
                self.optimizer.enqueue(self.state.restore(request['configuration'], None))
                self.recorder.enqueue(request['configuration'])
            return self.asked is None
        if kind != 'give_up':
            raise ValueError(f'no such kind of request: {kind!r}')
        return self._is_given_up(request['trial'])

    def _is_given_up(self, trial_id: int) -> bool:
        """Give a trial up, as somebody asked; False: it is about to be trained, so not yet."""
        call = self.workers.running.get(trial_id)
        if call is not None:
            self.workers.give_up(call)
            self._settle(call, Outcome(failed=GIVEN_UP))
        elif trial_id in self.state.running or (self.asked is not None and self.asked.id == trial_id):
            return False
        elif self.state.trials[trial_id].failed is None:
            self.recorder.give_up(trial_id, GIVEN_UP)
            self.optimizer.give_up(trial_id, GIVEN_UP)  # type: ignore[attr-defined]
            self.prune()
        return True

    def _collect(self) -> None:
        """Wait for calls, and handle those that are done.

        No finished call is held longer than that: Dask computes it again, over its checkpoint, if its worker dies.
        """
        patience = PATIENCE if self.trial_timeout is None else POLL
        for call, outcome in self.workers.collect(min(patience, max(0.0, self.rules.deadline.remaining()))):
            self._finish(call, outcome)

    def _finish(self, call: Call, outcome: Outcome | LostCall) -> None:
        failed = isinstance(outcome, LostCall) or outcome.failed is not None
        if failed and self.signals.received is not None:
            return  # whoever signaled us may have ended the worker, too: the step stays undecided, and is made again
        if isinstance(outcome, LostCall):
            self._settle(call, Outcome(failed=outcome.reason), outcome.attributable)
        elif outcome.storage is not None:
            raise StorageError(f'{outcome.storage}; what was reported before is safe')
        else:
            self._settle(call, outcome)

    def _settle(self, call: Call, outcome: Outcome, attributable: bool = True) -> None:
        """Acknowledge what came of a call; where it failed and may be made again, have it made again."""
        trial_id = call.attempt.trial.id
        step, older = self.state.running[trial_id], self._last_attempt(trial_id)
        if outcome.failed is not None:
            blamed = self.retries.is_blamed(step, attributable)
            if self.retries.grants(step, blamed, outcome.failed):
                self.recorder.lost(step, outcome.failed, blamed)
                self.checkpoints.discard(trial_id, step.attempt, older)
                self.retries.again(trial_id)
                logger.warning('trial %d: the call will be made again: %s', trial_id, outcome.failed)
                return
        finished = self.recorder.result(step, outcome)
        if self._last_attempt(trial_id) == step.attempt:
            self.checkpoints.adopt(trial_id, step.attempt, older)
        else:
            self.checkpoints.discard(trial_id, step.attempt, older)
        if finished.improved:
            self.checkpoints.publish(trial_id, step.attempt)
        self.optimizer.tell(step.trial, finished.metrics, finished.failed)
        self.prune(trial_id)
        self._keep_quota()
        self.observe(step.trial, finished.metrics, finished.failed, self.state, len(self.workers.running))

    def _last_attempt(self, trial_id: int) -> int | None:
        """The attempt whose folder the trial goes on from; None if it starts anew."""
        checkpoint = self.state.checkpoints.get(trial_id)
        return None if checkpoint is None else checkpoint.attempt

    def _end_overdue(self) -> None:
        """Give up the calls that run longer than `trial_timeout`."""
        limit = self.trial_timeout
        if limit is None:
            return
        for call in list(self.workers.running.values()):
            if call.has_begun() and time.monotonic() - (call.started_at or 0) >= limit:
                self.workers.give_up(call)
                self._settle(call, Outcome(failed=f'trial_timeout: no result after {limit:g} seconds', seconds=limit))

    def _cut_short(self) -> Stop:
        """Time is over: give up all calls."""
        calls = list(self.workers.running.values())
        for call in calls:
            self.workers.give_up(call)
        stop = self.rules.out_of_time('no call is started any more')
        return replace(stop, reason=f'{stop.reason}; {len(calls)} calls were cut short, and will be made again')

    def _budget_left(self) -> float:
        running = sum(self.state.running[trial_id].cost for trial_id in self.workers.running)
        return self.rules.budget_left(self.state, running)

    def _budget_too_small(self) -> Stop:
        left = self._budget_left()
        return Stop(f'max_budget: the {left:g} epochs that are left do not suffice for the next step', False)

    def _keep_quota(self, starting: int = 0) -> None:
        best, was_exceeded = self.state.incumbent, self.quota.is_exceeded
        busy = {*self.state.running, *(() if best is None else (best.trial,))}
        calls, best_size = len(self.workers.running) + starting, self.checkpoints.best_size
        for trial_id in self.quota.evictions(self.state.checkpoints, busy, calls, best_size, self._priority):
            self.evict(trial_id, f'max_disk: {self.quota.limit} bytes')
        if self.quota.is_exceeded and not was_exceeded:
            logger.warning('max_disk: the checkpoints of what runs and of the incumbent alone may exceed it')

    def _priority(self, trial_id: int) -> tuple[bool, float]:
        """Whose checkpoint is to stay: trials that may be asked for again, the most promising ones longest."""
        if isinstance(self.optimizer, Prioritizes):
            return self.optimizer.is_alive(trial_id), self.optimizer.checkpoint_priority(trial_id)
        best = self.state.trials[trial_id].best
        value = -math.inf if best is None else best.metric
        return self.optimizer.is_alive(trial_id), -value if self.state.minimize else value
