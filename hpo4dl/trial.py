"""The words that all parts share: a trial, its learning curve, a call of the objective function and its outcome.

A *trial* is one configuration in the race. Its *fidelity* is the epoch that it has been trained to. A *step* trains it
from one epoch to a later one; an *attempt* is one call of the objective function for a step, and may be lost and made
again. Inside the optimizers larger values are better everywhere; the sign is turned once, in `BaseOptimizer.tell`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    Array = Any  # NumPy is not imported here, so that a run can be read without it

Configuration = dict[str, Any]
Objective = Callable[[Configuration, int, int, str], Any]
"""`f(configuration, epoch, previous_epoch, checkpoint_path)`, see `Tuner`."""


@dataclass(frozen=True)
class Trial:
    """One step of a trial: train `configuration` on from `previous_epoch` (0: from scratch) to `epoch`."""

    id: int
    """The number of the configuration in the race, from 0."""
    configuration: Configuration
    """The values of its active hyperparameters, by name."""
    previous_epoch: int
    epoch: int
    point: Array | None = field(default=None, repr=False, compare=False)
    """(d,) the configuration's coordinates in the unit cube, NaN where inactive; None: not known."""


@dataclass
class LearningCurve:
    """What an optimizer knows of one trial: where it lies in the unit cube and its values, larger is better."""

    trial_id: int
    configuration: Configuration
    point: Array
    """(d,) coordinates in the unit cube, NaN where the hyperparameter is inactive."""
    epoch: int = 0
    """The epoch that it has been trained to."""
    epochs: list[int] = field(default_factory=list)
    """Epochs with a value, ascending; not every trained epoch need have one."""
    values: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    """What training took from one of these epochs to the next; NaN where that was not told."""
    failed: str | None = None
    """Why it is not trained further, if it is not."""


@dataclass(frozen=True)
class Attempt:
    """One call of the objective function: its number, and where it works. All that a worker is told."""

    number: int
    trial: Trial
    folder: str
    """The attempt's own folder. A call works in a new one beside it, which then becomes this; or here, `in_place`."""
    source: str | None
    """The folder that it starts as a copy of; itself: it is left as it is; None: it starts empty."""
    started_file: str
    """A file that a worker makes when it begins: limits of time start there."""
    in_place: bool = False
    log: str = os.devnull
    """The file for what a program prints that is run for it."""


@dataclass
class Outcome:
    """What became of one call of the objective function. Plain data."""

    metrics: dict[int, float] = field(default_factory=dict)
    """The usable metrics by epoch, in the user's own sign."""
    info: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The user's further keys by epoch, JSON-ready."""
    failed: str | None = None
    """Why the trial cannot go on, in one line."""
    traceback: str | None = None
    """Where the exception was raised, if one was."""
    seconds: float = 0.0
    costs: dict[int, float] = field(default_factory=dict)
    """What training took to each of these epochs from the one before, where the run counts anything but epochs."""
    cost: float | None = None
    """What the call takes from the budget; None: its epochs."""
    size: int = 0
    """Bytes of the checkpoint that it left."""
    folder: str | None = None
    """Where the worker made it: beside the attempt's own folder, which that becomes; None: no worker made it."""
    storage: str | None = None
    """What the file system refused, if it did: no fault of the trial's, and no result."""


class Incumbent(dict[str, Any]):
    """The best so far: a dictionary, as in hpo4dl 0.1.0, whose main entries are attributes, too.

    Beside them it has what else the objective function returned with that epoch, and the seconds that an epoch took:
    `time`, `overhead_time`, `total_time`.
    """

    @property
    def configuration(self) -> Configuration:
        """The values of its hyperparameters."""
        found: Configuration = self['configuration']
        return found

    @property
    def configuration_id(self) -> int:
        """The number of its trial."""
        return int(self['configuration_id'])

    @property
    def epoch(self) -> int:
        """The epoch at which the metric was best."""
        return int(self['epoch'])

    @property
    def metric(self) -> float:
        """The best metric."""
        return float(self['metric'])


def copied(configuration: Mapping[str, Any]) -> Configuration:
    """Return the configuration as the receiver's own: changing it, or a list or dict in it, changes nothing of ours."""
    return {name: _copied_value(value) for name, value in configuration.items()}


def _copied_value(value: Any) -> Any:
    if not isinstance(value, (list, dict, set, tuple, bytearray)) and not hasattr(value, '__array__'):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # of what cannot be copied, such as a lock in a list
        return value
