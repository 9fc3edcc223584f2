"""`Event`: what callbacks are told of a race while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .trial import Incumbent, Trial


@dataclass(frozen=True)
class Event:
    """What a callback is told after every result."""

    trial: Trial
    """The step that was trained."""
    metrics: dict[int, float]
    """By epoch: the metrics that this call gave."""
    failed: str | None
    """Why the trial is not trained further, if it failed."""
    incumbent: Incumbent | None
    """The best so far, as `Tuner.run` returns it; None as long as there is none."""
    epochs_spent: int
    """Epochs trained so far, over all trials."""
    max_budget: float | None
    """What may be spent in all, in `unit`; None: without a limit, as after the race."""
    seconds: float
    """Of wall clock, since `run` began."""
    running: int = 0
    """Calls of the objective function that are running now."""
    unit: str = 'epochs'
    """What `max_budget` counts: 'epochs', 'seconds' or 'reported'."""
    budget_spent: float = 0
    """What is spent of `max_budget`; epochs trained after the race do not count."""

    @property
    def counts_epochs(self) -> bool:
        """Whether `spent` counts epochs."""
        return self.unit == 'epochs' or self.max_budget is None

    @property
    def spent(self) -> float:
        """Epochs spent, or what else the budget counts."""
        return self.epochs_spent if self.counts_epochs else self.budget_spent


Callback = Callable[[Event], object]
