"""What the tuner needs of an optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ..trial import Array, Trial


class Optimizer(Protocol):
    """What every optimizer has. `DyHPO`, `Hyperband`, `ASHA` and `RandomSearch` have it."""

    def ask(self) -> Trial | None:
        """The next step to train; None: nothing is left."""

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        """What became of it: the user's metrics by epoch, and why the trial cannot go on, if it cannot."""

    def replay(self, trial: Trial) -> None:
        """In the place of `ask`: take note that this step was decided on, by the optimizer before a resume, or for it.

        A tuner itself decides to train a paused trial on where a budget ends, and after the race (`Tuner.finish`).
        """

    def is_alive(self, trial_id: int) -> bool:
        """Whether the trial may be asked for again, so that its checkpoint is needed."""


@runtime_checkable
class Forecasts(Protocol):
    """An optimizer that knows what more training may bring."""

    def expected_gain(self) -> float:
        """What more training is expected to improve the best metric by, in its units; infinite: not known yet."""


@runtime_checkable
class Estimates(Protocol):
    """An optimizer that tells noise from what is behind it."""

    def expected_metric(self, trial_id: int, epoch: int) -> float:
        """A trial's metric at an epoch, as it is believed to be after all that was seen; NaN: not known yet."""


@runtime_checkable
class TakesRequests(Protocol):
    """An optimizer that people can talk to while it races: `hpo4dl enqueue`, `hpo4dl stop --trial`."""

    def enqueue(self, configuration: Mapping[str, object]) -> None:
        """Start this configuration before others; ArgumentError: the space does not allow it."""

    def give_up(self, trial_id: int, reason: str) -> None:
        """Ask for a paused trial no more."""


@runtime_checkable
class Predicts(Protocol):
    """An optimizer that predicts what trials come to; else the best metric of each says which is the most promising."""

    def predicted_ends(self, trial_ids: Sequence[int]) -> Array:
        """(n,) what n trials that have a metric are predicted to come to at the end of training, larger is better."""


def tell(
    optimizer: Optimizer, trial: Trial, metrics: Mapping[int, float], failed: str | None, costs: Mapping[int, float]
) -> None:
    """Tell an optimizer what became of a step; with its costs by epoch, where there are any and `tell` takes them."""
    takes: Any = optimizer.tell
    if costs and 'costs' in inspect.signature(takes).parameters:
        takes(trial, metrics, failed, costs=costs)
    else:
        takes(trial, metrics, failed)
