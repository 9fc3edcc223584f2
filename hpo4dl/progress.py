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
    """Its usable metrics by epoch."""
    failed: str | None
    """Why the trial is not trained further, if it failed."""
    incumbent: Incumbent | None
    """The best so far, as `Tuner.run` returns it; None as long as there is none."""
    epochs_spent: int
    """Epochs trained so far, over all trials."""
    max_budget: int | None
    """Epochs to be trained in all."""
    seconds: float
    """Wall clock since `run` began."""
    running: int = 0
    """Calls of the objective function that are running now."""


Callback = Callable[[Event], object]
