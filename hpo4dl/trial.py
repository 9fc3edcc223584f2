"""A trial, and the learning curve that it leaves.

A *trial* is one configuration in the race. Its *fidelity* is the epoch that it has been trained to. Inside the
optimizers larger values are better everywhere; the sign is turned once, in `BaseOptimizer.tell`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Configuration = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One step of a trial: train `configuration` on from `previous_epoch` (0: from scratch) to `epoch`."""

    id: int
    configuration: Configuration
    previous_epoch: int
    epoch: int


@dataclass
class LearningCurve:
    """What is known of one trial: where it lies in the unit cube and its values so far, larger is better."""

    trial_id: int
    configuration: Configuration
    point: NDArray[np.float64]
    """(d,) coordinates in the unit cube, NaN where the hyperparameter is inactive."""
    epoch: int = 0
    """The epoch that it has been trained to."""
    epochs: list[int] = field(default_factory=list)
    """Epochs with a value, ascending; not every trained epoch need have one."""
    values: list[float] = field(default_factory=list)
    failed: str | None = None
    """Why it is not trained further, if it is not."""
