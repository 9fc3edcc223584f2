"""The budget of a race, in the unit that it counts: what a call took, what is left, and what the rest is kept for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..optimizers.protocol import Optimizer
from ..records.state import FINISH, RunningStep, RunState
from ..text import brief
from ..trial import Outcome
from .finishing import most_promising

UNITS = {'epochs': 'epochs', 'seconds': 'seconds', 'reported': 'units of cost'}
"""What a budget can count, and how people call it."""
ROUNDING = 1e-9
"""By what share a sum of costs may be off."""
LARGEST_COST = 1e100
"""Of an epoch, so that sums are finite."""


@dataclass(frozen=True)
class Reserve:
    """What the rest of the budget is kept for."""

    trial: int
    cost: float
    """Of training it to the end, as predicted."""


@dataclass(frozen=True)
class Budget:
    """How much a race may take. What it took so far is in its state; no question changes anything."""

    limit: float | None
    unit: str
    """One of `UNITS`: trained epochs, seconds that calls take, or what the objective function returns as `cost`."""
    max_epochs: int

    def charged(self, outcome: Outcome, step: RunningStep, state: RunState) -> Outcome:
        """Return a call's outcome with what it cost; as failed, where a cost that should have been reported is missing.

        A failed call that says nothing of its cost is charged what its epochs are predicted to cost: else a race of
        calls that fail would never end.
        """
        if self.unit == 'epochs':
            return outcome
        if self.unit == 'reported':
            outcome = with_reported_costs(outcome)
            missing = step.trial.epoch - max(outcome.metrics, default=step.starts_at)
            cost = sum(outcome.costs.values()) + self.pace(step.trial.id, state) * missing
            return replace(outcome, cost=cost)
        trained = max(outcome.metrics, default=step.trial.epoch) - step.starts_at
        cost = outcome.seconds or self.pace(step.trial.id, state) * trained
        new = [epoch for epoch in outcome.metrics if epoch > step.trial.previous_epoch]
        lengths = [epoch - before for before, epoch in zip([step.trial.previous_epoch, *new], new)]
        costs = {epoch: cost / trained * length for epoch, length in zip(new, lengths)}
        return replace(outcome, costs=costs, cost=cost)

    def paces(self, state: RunState) -> tuple[dict[int, float], float]:
        """Return what an epoch of each trial took so far, and what one of any other is predicted to take."""
        if self.unit == 'epochs':
            return {}, 1.0
        known = {t.id: t.cost / t.spent for t in state.trials.values() if t.spent}
        return known, statistics.median(known.values()) if known else 0.0

    def pace(self, trial_id: int, state: RunState) -> float:
        """Return what an epoch of a trial is predicted to cost."""
        known, typical = self.paces(state)
        return known.get(trial_id, typical)

    def left(self, state: RunState, running: Sequence[int]) -> float:
        """Return what is neither spent nor taken by the calls of `running` trials; infinite without a limit."""
        if self.limit is None:
            return math.inf
        known, typical = self.paces(state)
        steps = [step for trial_id in running if (step := state.running[trial_id]).by != FINISH]
        return self.limit - state.budget_spent - sum(s.epochs * known.get(s.trial.id, typical) for s in steps)

    def epochs_for(self, amount: float, trial_id: int, state: RunState) -> float:
        """Return how many epochs of a trial an amount pays."""
        pace = self.pace(trial_id, state)
        return amount / pace * (1 + ROUNDING) if pace > 0 else math.inf

    def is_spent(self, state: RunState) -> bool:
        return self.limit is not None and state.budget_spent >= self.limit * (1 - ROUNDING)

    def spent(self, state: RunState) -> str:
        """Return what is spent, in words."""
        return f'{state.budget_spent:.10g} {UNITS[self.unit]} are {"trained" if self.unit == "epochs" else "spent"}'

    def may_reserve(self, state: RunState, left: float) -> bool:
        """Return whether some of what is `left` may have to be kept: it is no longer enough for two trainings."""
        if self.limit is None:
            return False
        known, typical = self.paces(state)
        two = 2 * self.max_epochs
        return left <= two * max([typical, *known.values()]) and self.limit >= two * typical

    def reserve(
        self, state: RunState, optimizer: Optimizer, left: float, starting: int | None = None
    ) -> Reserve | None:
        """Return what is kept of `left` to train the most promising trial to the end, as long as none is complete.

        None: all may be spent: a trial is complete, or soon will be, or `may_reserve` says so. The trial that is
        `starting` counts as paused.
        """
        if not self.may_reserve(state, left):
            return None
        running = {trial_id: step.trial.epoch for trial_id, step in state.running.items() if trial_id != starting}
        if any(epoch >= self.max_epochs for epoch in running.values()) or state.best_complete(self.max_epochs):
            return None
        reached = {t.id: t.epoch if t.id in state.checkpoints else 0 for t in state.trials.values()} | running
        known, typical = self.paces(state)
        costs = {i: (self.max_epochs - epoch) * known.get(i, typical) for i, epoch in reached.items()}
        ranked = most_promising(optimizer, state)
        ranked += [trial_id for trial_id in running if trial_id not in ranked]  # of which nothing is known yet
        affordable = (i for i in ranked if costs[i] <= left * (1 + ROUNDING))
        return next((Reserve(trial_id, costs[trial_id]) for trial_id in affordable), None)


def with_reported_costs(outcome: Outcome) -> Outcome:
    """Return the outcome with the costs that the objective function returned; failed from where one is missing."""
    found = replace(outcome, metrics={}, info={}, costs={})
    for epoch, metric in outcome.metrics.items():
        info = dict(outcome.info.get(epoch, {}))
        cost = info.pop('cost', None)
        if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not 0 <= cost <= LARGEST_COST:
            accepted = "with cost='reported', each epoch needs a number >= 0"
            found.failed = f'the cost of epoch {epoch} is {brief(cost)}; {accepted}'
            break
        found.metrics[epoch], found.info[epoch], found.costs[epoch] = metric, info, float(cost)
    return found
