"""When a race stops, and whether there is anything left to do. All but the clock is handed in."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..failure_kinds import NEVER_ANY, kind_of
from ..records.state import RunState
from ..trial import Trial
from .budget import Budget

MAX_FAILURES = 10
"""Stop the run if this many calls fail before any succeeds."""
MAX_ALIKE = 3
"""The same of calls whose failure says that all others will fail likewise."""
SLURM_MARGIN = 30.0
"""Seconds before the end of a Slurm job at which the tuner stops, so that it ends by itself."""


@dataclass(frozen=True)
class Stop:
    """Why a race ended, or why it starts no further call now."""

    reason: str
    is_final: bool
    """Whether the run has come to its end; False: it was interrupted, and resuming it goes on at once."""


Clock = Callable[[], float]
"""Tells seconds, from any moment on."""


class Deadline:
    """The moment at which no call may run any more: by `time_limit`, or by the end of the Slurm job that this runs in.

    `time_limit` and `allocation`, the time that is left of the job, are in seconds from now.
    """

    def __init__(self, time_limit: float | None, allocation: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        limit = math.inf if time_limit is None else time_limit
        self._seconds = min(limit, allocation)
        self._name = 'time_limit' if limit <= allocation else 'the end of the Slurm job'

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    def remaining(self) -> float:
        """Seconds until the deadline, negative after it."""
        return self._seconds - self.elapsed()

    def is_over(self) -> bool:
        return self.remaining() <= 0

    def __str__(self) -> str:
        return f'{self._name}: {max(0.0, self.remaining()):.1f} seconds are left'


@dataclass
class StoppingRules:
    """Says why to stop. No question changes anything."""

    deadline: Deadline
    budget: Budget
    target: float | None
    """The metric that ends the race."""
    failures_before: int = 0
    """Calls that failed before the run was ended for it, and resumed: the objective function may have been repaired."""

    def now(self, state: RunState, signal: str | None, broken: str | None) -> Stop | None:
        """Why no further call may start: a `signal` was received, the executor is `broken`, or the race is over."""
        return self.interrupted(signal, broken) or self.over(state)

    def interrupted(self, signal: str | None, broken: str | None) -> Stop | None:
        """Why no further call may start, whatever there is to do."""
        if signal is not None:
            return Stop(f'{signal}: the calls that ran then were the last ones', False)
        if self.deadline.is_over():
            return self.out_of_time('no call is started any more')
        if broken is not None:
            return Stop(f'the executor is broken ({broken})', False)
        return None

    def over(self, state: RunState) -> Stop | None:
        """Why the race is over."""
        if self.budget.is_spent(state):
            return Stop(f'max_budget: {self.budget.spent(state)}', True)
        best = state.incumbent
        if self.target is not None and best is not None and not state.is_better(self.target, best.metric):
            return Stop(f'target: {best.metric} is reached', True)
        if sum(state.failures.values()) - self.failures_before >= MAX_FAILURES:
            return Stop(f'the first {MAX_FAILURES} calls of the objective function failed', True)
        kinds = {kind_of(reason) for reason in state.failures}
        if len(kinds) == 1 and kinds <= NEVER_ANY and sum(state.failures.values()) >= MAX_ALIKE:
            return Stop(f'the first {MAX_ALIKE} calls failed alike, and so would all others: {kinds.pop()}', True)
        return None

    def before(self, wanted: Trial, state: RunState) -> Stop | None:
        """Why a step is not started: it is predicted not to finish in time.

        No other one is started in its place, though it might be shorter: the order of decisions stays the same.
        """
        if self.deadline.remaining() == math.inf:  # the median of all trials is not for every step
            return None
        seconds = predicted_seconds(wanted, state)
        if self.deadline.remaining() >= seconds:
            return None
        return self.out_of_time(f'the next call takes {seconds:.1f}, it is predicted')

    def out_of_time(self, why: str) -> Stop:
        """The deadline is the reason."""
        return Stop(f'{self.deadline}, {why}', False)


def predicted_seconds(wanted: Trial, state: RunState) -> float:
    """What a call will take, by the trial's own last one; by the median of all trials' if it has none."""
    trial = state.trials.get(wanted.id)
    pace = None if trial is None else trial.seconds_per_epoch
    if pace is None:
        paces = [t.seconds_per_epoch for t in state.trials.values() if t.seconds_per_epoch is not None]
        pace = statistics.median(paces) if paces else 0.0
    return pace * (wanted.epoch - (wanted.previous_epoch if wanted.id in state.checkpoints else 0))


def allocation_left() -> float:
    """Seconds until a tuner that runs in a Slurm job is to end; infinite elsewhere.

    Slurm tells the end in SLURM_JOB_END_TIME, seconds since 1970; 22.05 does not, where a job script can set it
    (examples/clusters/requeue.sbatch). One that is past means nothing: somebody prolonged the job.
    """
    end = os.environ.get('SLURM_JOB_END_TIME', '')
    remaining = float(end) - time.time() if end.isdecimal() else 0.0
    return remaining - SLURM_MARGIN if remaining > 0 else math.inf
