"""What to train next: a call that is made again, what finishes a trial, or what the optimizer asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ArgumentError
from ..execution.engines import Workers
from ..optimizers.protocol import Estimates, Forecasts, Optimizer
from ..records.state import FINISH, RESERVE, RunState
from ..trial import Trial
from .budget import UNITS, Budget, Reserve
from .finishing import next_step, unfinished
from .retries import Retries
from .stopping import Stop
from .storage import Storage


@dataclass(frozen=True)
class Planned:
    """A step to start."""

    wanted: Trial
    by: str | None = None
    """As `RunningStep.by`."""


@dataclass
class Planner:
    """Says which step is to start now, and up to which epoch the budget pays it."""

    optimizer: Optimizer
    budget: Budget
    retries: Retries
    storage: Storage
    workers: Workers
    least_gain: float | None = None
    """`stop_when_gain_below`."""
    asked: Trial | None = None
    """A step that the optimizer decided on and that has not begun."""
    is_race: bool = True
    """False: the race is over, and the trials that `state.finishing` names are trained to the end."""

    @property
    def state(self) -> RunState:
        return self.storage.state

    def expected_gain(self) -> float:
        """As the optimizer expects it; infinite if it cannot tell."""
        return float(self.optimizer.expected_gain()) if isinstance(self.optimizer, Forecasts) else math.inf

    def expected_metric(self) -> float:
        """Return the incumbent's metric as the optimizer believes it to be after all it saw; NaN: it cannot tell."""
        best = self.state.incumbent
        if best is None or not isinstance(self.optimizer, Estimates):
            return math.nan
        return self.optimizer.expected_metric(best.trial, best.epoch)

    def next(self) -> Planned | Stop:
        """Return the step to start now, as it is wanted; or why there is none. ArgumentError: its trial is running."""
        again = self.retries.next()
        if again is not None:
            return Planned(again.wanted, again.by)
        if not self.is_race:
            paused = [i for i in unfinished(self.state, self.budget.max_epochs) if i not in self.state.running]
            if paused:
                return Planned(next_step(paused[0], self.budget.max_epochs, self.state), FINISH)
            return Stop(f'finish: {self._finished()}', True)
        if self.asked is None:
            left = self._left()
            if left <= 0:
                return self.too_little_is_left()
            if self.least_gain is not None and (gain := self.expected_gain()) < self.least_gain:
                why = f'more training is expected to improve the best metric by {gain:.2g}'
                return Stop(f'stop_when_gain_below: {why}', True)
            reserve = self._reserve(left)
            if reserve is not None and left - reserve.cost < self.budget.pace(reserve.trial, self.state):
                if reserve.trial in self.state.running:
                    return self.too_little_is_left()
                return Planned(next_step(reserve.trial, self.budget.max_epochs, self.state), RESERVE)
            self.asked = self.optimizer.ask()
        if self.asked is None:
            new = 'no configuration was found that is new and not forbidden'
            why = f'{new}, and what was begun is trained to the end or failed; or all rounds are over'
            return Stop(f'nothing is left to train: {why}', True)
        if self.asked.id in self.state.running:
            raise ArgumentError('optimizer', self.asked, 'one that asks for no trial that is running')
        return Planned(self.asked)

    def affordable(self, planned: Planned, starts_at: int) -> int:
        """Return the epoch up to which the budget pays a step, beside what is kept for another trial."""
        wanted = planned.wanted
        if planned.by == FINISH:
            return wanted.epoch
        left = self._left()
        epoch = int(min(wanted.epoch, starts_at + self.budget.epochs_for(left, wanted.id, self.state)))
        if planned.by is not None or epoch >= self.budget.max_epochs:
            return epoch
        reserve = self._reserve(left, wanted.id)
        if reserve is None or reserve.trial == wanted.id:
            return epoch
        beside = starts_at + self.budget.epochs_for(left - reserve.cost, wanted.id, self.state)
        return int(min(epoch, beside)) if beside >= wanted.previous_epoch + 1 else epoch

    def started(self, planned: Planned) -> None:
        """Take note that the planned step starts: the next one is another."""
        if self.retries.next() is not None:
            self.retries.started()
        elif planned.by is not None:
            self.optimizer.replay(planned.wanted)
        else:
            self.asked = None

    def too_little_is_left(self) -> Stop:
        """Return that the budget is the reason to stop, though it is not spent."""
        left = f'{self._left():g} {UNITS[self.budget.unit]}'
        return Stop(f'max_budget: the {left} that are left do not suffice for the next step', False)

    def _left(self) -> float:
        return self.budget.left(self.state, list(self.workers.running))

    def _reserve(self, left: float, starting: int | None = None) -> Reserve | None:
        """As `Budget.reserve`; only what is recorded decides, so checkpoints that are not needed go first."""
        if not self.budget.may_reserve(self.state, left):
            return None
        self.storage.prune()
        return self.budget.reserve(self.state, self.optimizer, left, starting)

    def _finished(self) -> str:
        if not self.state.finishing:
            return 'no trial has a metric'
        trials = [str(i) for i in self.state.finishing if self.state.trials[i].epoch >= self.budget.max_epochs]
        return f'trials trained to epoch {self.budget.max_epochs}: {", ".join(trials) or "none"}'
