"""What the tuner needs of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ..trial import Trial


class Optimizer(Protocol):
    """What every optimizer has. `DyHPO`, `Hyperband`, `ASHA` and `RandomSearch` have it."""

    def ask(self) -> Trial | None:
        """The next step to train; None: nothing is left."""

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        """What became of it: the user's metrics by epoch, and why the trial cannot go on, if it cannot."""

    def replay(self, trial: Trial) -> None:
        """On resume, in the place of `ask`: take note that this step was decided on."""

    def is_alive(self, trial_id: int) -> bool:
        """Whether the trial may be asked for again, so that its checkpoint is needed."""


@runtime_checkable
class Forecasts(Protocol):
    """An optimizer that knows what more training may bring."""

    def expected_gain(self) -> float:
        """What more training is expected to improve the best metric by, in its units; infinite: not known yet."""


@runtime_checkable
class TakesRequests(Protocol):
    """An optimizer that people can talk to while it races: `hpo4dl enqueue`, `hpo4dl stop --trial`."""

    def enqueue(self, configuration: Mapping[str, object]) -> None:
        """Start this configuration before others; ArgumentError: the space does not allow it."""

    def give_up(self, trial_id: int, reason: str) -> None:
        """Ask for a paused trial no more."""


@runtime_checkable
class Prioritizes(Protocol):
    """An optimizer that says whose checkpoint stays longest under `max_disk`; else the best metric of each does."""

    def checkpoint_priority(self, trial_id: int) -> float:
        """Priority of a paused trial's checkpoint; the smallest goes first."""
