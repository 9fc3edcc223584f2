"""Which calls are made again, and which of them alone, to tell whose fault a loss was."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..failure_kinds import NEVER_AGAIN, kind_of
from ..records.state import RunningStep, RunState

MAX_SHARED_LOSSES = 3
"""After so many losses that cannot be attributed, a further one is blamed on the trial."""


class Retries:
    """The queue of steps whose call is to be made again.

    A call that failed, or whose worker died, is made again as often as `retry` says. Where a worker died with several
    calls on it, nobody knows whose fault it was: each is made again, alone, and that loss is blamed on none. Steps that
    run in `state` at first were cut short, and are made again.
    """

    def __init__(self, state: RunState, retry: int) -> None:
        self._state = state
        self._retry = retry
        self._queue: deque[int] = deque(state.running)

    def next(self) -> RunningStep | None:
        """Return the step to be called again now; None: there is none."""
        return self._state.running[self._queue[0]] if self._queue else None

    def started(self) -> None:
        """Take note that the next one was started."""
        self._queue.popleft()

    def again(self, trial_id: int, first: bool = False) -> None:
        """Call this trial's step again: after the others that wait, or before them."""
        (self._queue.appendleft if first else self._queue.append)(trial_id)

    def must_isolate(self, running: Collection[int]) -> bool:
        """Return whether nothing may start beside what runs: one of it, or what is to start next, is to run alone."""
        step = self.next()
        waiting = step is not None and len(running) > 0 and step.shared_losses > 0
        return waiting or any(self._state.running[trial_id].shared_losses > 0 for trial_id in running)

    def is_blamed(self, step: RunningStep, attributable: bool) -> bool:
        """Return whether a loss counts as the trial's own."""
        return attributable or step.shared_losses >= MAX_SHARED_LOSSES

    def grants(self, step: RunningStep, blamed: bool, reason: str) -> bool:
        """Return whether a call that failed for this reason is made again: never where it is bound to fail again."""
        return kind_of(reason) not in NEVER_AGAIN and (not blamed or step.blamed_losses < self._retry)
