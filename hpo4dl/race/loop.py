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
from ..optimizers.protocol import Estimates, Forecasts, Optimizer, Prioritizes, TakesRequests, tell
from ..records.checkpoints import Checkpoints
from ..records.disk_quota import DiskQuota
from ..records.recorder import Recorder
from ..records.requests import Requests
from ..records.state import FINISH, RESERVE, RunState
from ..text import one_line
from ..trial import Outcome, Trial
from .budget import UNITS, Budget, Kept, next_step, to_finish, unfinished
from .retries import Retries
from .stopping import Stop, StoppingRules

GIVEN_UP = 'given up: hpo4dl stop --trial'
PATIENCE = 0.5
"""Seconds that may pass until a signal, or the end of the time, is noticed."""

logger = logging.getLogger(__name__)

Observer = Callable[[Trial, Mapping[int, float], 'str | None', RunState, int], None]
"""Is told of every result: the step, its metrics, why it failed, the state, and how many calls are running."""


@dataclass(frozen=True)
class Planned:
    """A step to start."""

    wanted: Trial
    by: str | None = None
    """As `RunningStep.by`."""


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
    is_race: bool = True
    """False: the race is over, and the trials that `state.finishing` names are trained to the end."""

    @property
    def state(self) -> RunState:
        return self.recorder.state

    @property
    def budget(self) -> Budget:
        return self.rules.budget

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

    def finish(self, top: int) -> Stop:
        """Train the `top` most promising trials to the end, or go on with those that were chosen before a break."""
        self.is_race = False
        self.prune()
        if not any(map(self._is_unfinished, self.state.finishing)):
            self.recorder.finish(to_finish(self.optimizer, self.state, top))
        for trial_id in filter(self._is_unfinished, self.state.finishing):
            checkpoint, best = self.state.checkpoints.get(trial_id), self.state.incumbent
            if checkpoint is None or self.checkpoints.has(trial_id, checkpoint.attempt):
                continue
            if best is not None and best.trial == trial_id and self.state.incumbent_attempt == checkpoint.attempt:
                self.checkpoints.bring_back(trial_id, checkpoint.attempt)
            else:
                self.evict(trial_id, 'its checkpoint is gone')
        if self.asked is not None and self.asked.id in self.state.finishing:
            self.asked = None
        return self.run()

    def prune(self, told: int | None = None) -> None:
        """Remove checkpoints that are not needed: of the trial just told, and now and then of all.

        Those of trials that are finished after the race stay.
        """
        keeps = lambda trial_id: trial_id in self.state.finishing or self.needs_checkpoint(trial_id)  # noqa: E731
        for trial_id in self.checkpoints.unneeded(self.state.checkpoints, keeps, told):
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

    def expected_metric(self) -> float:
        """The incumbent's metric as the optimizer believes it to be, after all that was seen; NaN if it cannot tell."""
        best = self.state.incumbent
        if best is None or not isinstance(self.optimizer, Estimates):
            return math.nan
        return self.optimizer.expected_metric(best.trial, best.epoch)

    def _fill(self) -> Stop | None:
        """Start calls as long as there is room; why nothing can be started now, None where a call must run alone."""
        while True:
            signal, broken, rules = self.signals.received or self.told_to_stop, self.workers.broken(), self.rules
            stop = rules.now(self.state, signal, broken) if self.is_race else rules.interrupted(signal, broken)
            if stop is not None:
                return stop
            if not self.workers.has_room():
                return Stop('every worker is occupied by a call that was given up (trial_timeout)', False)
            if self.retries.must_isolate(self.workers.running):
                return None
            begin = time.perf_counter()
            planned = self._next()
            if isinstance(planned, Stop):
                return planned
            stop = self.rules.before(planned.wanted, self.state) or self._start(planned, begin)
            if stop is not None:
                return stop

    def _next(self) -> Planned | Stop:
        """The step to start now, as the optimizer wants it; or why there is none."""
        again = self.retries.next()
        if again is not None:
            return Planned(again.wanted, again.by)
        if not self.is_race:
            trial_id = unfinished(self.state, self.budget.max_epochs)
            if trial_id is not None:
                return Planned(next_step(trial_id, self.budget.max_epochs, self.state), FINISH)
            return Stop(f'finish: {self._finished()}', True)
        if self.asked is None:
            left = self._budget_left()
            if left <= 0:
                return self._budget_too_small()
            if self.least_gain is not None and (gain := self.expected_gain()) < self.least_gain:
                why = f'more training is expected to improve the best metric by {gain:.2g}'
                return Stop(f'stop_when_gain_below: {why}', True)
            kept = self._kept(left)
            if kept is not None and left - kept.cost < self.budget.pace(kept.trial, self.state):
                if kept.trial in self.state.running:
                    return self._budget_too_small()
                return Planned(next_step(kept.trial, self.budget.max_epochs, self.state), RESERVE)
            self.asked = self.optimizer.ask()
        if self.asked is None:
            new = 'no configuration was found that is new and not forbidden'
            why = f'{new}, and what was begun is trained to the end or failed; or all rounds are over'
            return Stop(f'nothing is left to train: {why}', True)
        if self.asked.id in self.state.running:
            raise ArgumentError('optimizer', self.asked, 'one that asks for no trial that is running')
        return Planned(self.asked)

    def _start(self, planned: Planned, begin: float) -> Stop | None:
        """Start a call, and return None; or say that the budget does not allow it."""
        wanted = planned.wanted
        older = self._last_attempt(wanted.id)
        starts_at = 0 if older is None else wanted.previous_epoch
        epoch = self._affordable(planned, starts_at)
        if epoch <= wanted.previous_epoch:
            return self._budget_too_small()
        if self.retries.next() is not None:
            self.retries.started()
        elif planned.by is not None:
            self.optimizer.replay(wanted)
        else:
            self.asked = None
        if starts_at < wanted.previous_epoch and self.checkpoints.keep != 'none':
            logger.warning('trial %d is trained again from its start: its checkpoint was evicted', wanted.id)
        overhead = time.perf_counter() - begin
        step = self.recorder.start(wanted, epoch, starts_at, planned.by)
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

    def _affordable(self, planned: Planned, starts_at: int) -> int:
        """The epoch up to which the budget pays a step, beside what is kept for another trial."""
        wanted, left = planned.wanted, self._budget_left()
        if planned.by == FINISH:
            return wanted.epoch
        epoch = int(min(wanted.epoch, starts_at + self.budget.pays(left, wanted.id, self.state)))
        if planned.by is not None or epoch >= self.budget.max_epochs:
            return epoch
        kept = self._kept(left, wanted.id)
        if kept is None or kept.trial == wanted.id:
            return epoch
        beside = starts_at + self.budget.pays(left - kept.cost, wanted.id, self.state)
        return int(min(epoch, beside)) if beside >= wanted.previous_epoch + 1 else epoch

    def _kept(self, left: float, starting: int | None = None) -> Kept | None:
        """As `Budget.kept`; only what is recorded decides, so checkpoints that are not needed go first."""
        if not self.budget.may_keep(self.state, left):
            return None
        self.prune()
        return self.budget.kept(self.state, self.optimizer, left, starting)

    def _is_unfinished(self, trial_id: int) -> bool:
        trial = self.state.trials[trial_id]
        return trial.failed is None and trial.epoch < self.budget.max_epochs

    def _finished(self) -> str:
        if not self.state.finishing:
            return 'no trial has a metric'
        trials = [str(i) for i in self.state.finishing if self.state.trials[i].epoch >= self.budget.max_epochs]
        return f'trials trained to epoch {self.budget.max_epochs}: {", ".join(trials) or "none"}'

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
        outcome = self.budget.charged(outcome, step, self.state)
        if outcome.failed is not None:
            blamed = self.retries.is_blamed(step, attributable)
            if self.retries.grants(step, blamed, outcome.failed):
                self.recorder.lost(step, outcome.failed, blamed)
                self.checkpoints.discard(trial_id, step.attempt, older)
                self.retries.again(trial_id)
                logger.warning('trial %d: the call will be made again: %s', trial_id, outcome.failed)
                return
        if outcome.folder is not None:
            self.checkpoints.accept(trial_id, step.attempt, outcome.folder)
        finished = self.recorder.result(step, outcome)
        if self._last_attempt(trial_id) == step.attempt:
            self.checkpoints.adopt(trial_id, step.attempt, older)
        else:
            self.checkpoints.discard(trial_id, step.attempt, older)
        if finished.improved:
            self.checkpoints.publish(trial_id, step.attempt)
        tell(self.optimizer, step.trial, finished.metrics, finished.failed, finished.costs)
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
        return self.budget.left(self.state, list(self.workers.running))

    def _budget_too_small(self) -> Stop:
        left = f'{self._budget_left():g} {UNITS[self.budget.unit]}'
        return Stop(f'max_budget: the {left} that are left do not suffice for the next step', False)

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
