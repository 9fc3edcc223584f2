"""What all optimizers share: who races, how far each was trained, what is running; ask and tell.

An optimizer says what to train next in `_decide`; everything else is here. What an optimizer knows is a function of
(seed, the order of its asks and tells), and every random draw comes from a generator derived from (seed, purpose,
number of asks so far). `replay` and `tell`, fed with a journal, therefore bring an optimizer back to exactly where it
was, without taking any decision again.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from ..checks import check_count, check_flag, check_seed
from ..errors import ArgumentError
from ..space.unit_cube import Space
from ..trial import LearningCurve, Trial, copied

Metric = TypeVar('Metric', float, NDArray[np.float64])


class BaseOptimizer:
    """What all optimizers share: their arguments, and asking and telling. Subclasses decide.

    Args:
        configuration_space: what to search, as in `Tuner`.
        max_epochs: epochs of one configuration at most, >= 1.
        minimize: whether smaller metrics are better; default False.
        seed: a whole number >= 0; None draws one, which the attribute `seed` then holds.
        initial_configurations: dictionaries, which are raced first, in this order.
        candidates: dictionaries, to which the race is restricted.

    Raises:
        ArgumentError: an argument is not as above.
    """

    def __init__(
        self,
        configuration_space: ConfigurationSpace | dict[str, Any] | Space,
        max_epochs: int,
        *,
        minimize: bool = False,
        seed: int | None = None,
        initial_configurations: Sequence[Mapping[str, object]] = (),
        candidates: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        given = configuration_space
        self.space: Space = given if isinstance(given, Space) else Space(given, candidates)
        self.max_epochs = check_count('max_epochs', max_epochs)
        self.minimize = check_flag('minimize', minimize)
        self.seed = check_seed(seed)
        self.curves: dict[int, LearningCurve] = {}
        self.running: dict[int, Trial] = {}
        self.asks = 0
        self._tried: set[bytes] = set()
        if not isinstance(initial_configurations, Sequence):
            raise ArgumentError('initial_configurations', initial_configurations, 'a list of configurations')
        self._initial = deque(unique([self._initial_point(c) for c in initial_configurations]))

    def __repr__(self) -> str:
        return f'<{type(self).__name__}: {len(self.curves)} trials, {self.asks} steps asked for>'

    def ask(self) -> Trial | None:
        """The next step to train; None: nothing is left, or nothing before a running step is told.

        Several steps may be asked for before the first of them is told: that is how workers race in parallel.
        """
        trial = self._decide()
        if trial is None:
            return None
        self.replay(trial)
        return replace(trial, configuration=copied(trial.configuration))

    def replay(self, trial: Trial) -> None:
        """Takes note, in the place of `ask`, that `trial` was asked for, to go on with a race that was recorded."""
        if trial.id not in self.curves:
            known = trial.point
            point = self.space.to_unit(trial.configuration) if known is None else self.space.check_point(known)
            self._tried.add(point.tobytes())
            if self._initial and self._initial[0].tobytes() == point.tobytes():
                self._initial.popleft()
            self.curves[trial.id] = LearningCurve(trial.id, trial.configuration, point)
        self.running[trial.id] = trial
        self.asks += 1

    def tell(
        self,
        trial: Trial,
        metrics: Sequence[float] | Mapping[int, float] | None = None,
        failed: str | None = None,
        costs: Sequence[float] | Mapping[int, float] | None = None,
    ) -> None:
        """Report what became of a step.

        Args:
            trial: what `ask` returned.
            metrics: one value an epoch from `trial.previous_epoch + 1` on, or a mapping from epoch to value.
                A value that is not finite makes the trial failed; the values before it count.
            failed: in words, why the trial is not to be trained further; default None: it may be.
            costs: what training to each of these epochs took from the one before, in any unit: one value a metric, or
                a mapping from epoch to value. DyHPO then weighs what a step may gain against what it takes.

        Raises:
            ArgumentError: the trial is not running, an epoch was not asked for, a metric is not a number, a cost is
                none >= 0, or there is neither a metric nor a failure.
        """
        if not isinstance(trial, Trial) or not self._asked_for(trial):
            asked = f'a trial that was asked for and not yet told, one of {list(self.running)}'
            raise ArgumentError('trial', trial, asked)
        by_epoch = self._by_epoch(trial, 'metrics', metrics)
        cost_of = self._by_epoch(trial, 'costs', costs)
        if not all(0 <= cost < math.inf for cost in cost_of.values()):
            raise ArgumentError('costs', costs, 'finite numbers >= 0')
        if not isinstance(failed, (str, type(None))):
            raise ArgumentError('failed', failed, 'a reason in words, or None')
        if not by_epoch and failed is None:
            raise ArgumentError('metrics', metrics, 'at least one value, or a reason in `failed`')
        del self.running[trial.id]
        curve = self.curves[trial.id]
        for epoch, metric in sorted(by_epoch.items()):
            if not np.isfinite(metric):
                failed = failed or f'the metric of epoch {epoch} is {metric}'
                break
            curve.epochs.append(epoch)
            curve.values.append(self.signed(metric))
            curve.costs.append(cost_of.get(epoch, math.nan))
            curve.epoch = epoch
        if failed is not None:
            curve.failed = failed
        self._learn(trial)

    def _asked_for(self, trial: Trial) -> bool:
        """Whether it is a step that is running, perhaps cut short; another optimizer's has another point."""
        running = self.running.get(trial.id)
        if running is None or running.previous_epoch != trial.previous_epoch or trial.epoch > running.epoch:
            return False
        return trial.point is None or np.array_equal(trial.point, self.curves[trial.id].point, equal_nan=True)

    def is_alive(self, trial_id: int) -> bool:
        """Whether the trial may still be asked for, so that its checkpoint is needed."""
        curve = self.curves[trial_id]
        return curve.failed is None and curve.epoch < self.max_epochs

    def enqueue(self, configuration: Mapping[str, object]) -> None:
        """Starts this configuration next, after `initial_configurations`; nothing, if it was started already.

        Raises:
            ArgumentError: the space does not allow it.
        """
        point = self._initial_point(configuration)
        if point.tobytes() not in self._tried:
            self._initial = deque(unique([*self._initial, point]))

    def give_up(self, trial_id: int, reason: str) -> None:
        """Asks for a paused trial no more."""
        curve = self.curves[trial_id]
        curve.failed = reason
        self._learn(self._continue(curve, curve.epoch))

    def signed(self, metric: Metric) -> Metric:
        """A metric as a curve holds it, where larger is better; and a curve's value as the metric that was told."""
        return -metric if self.minimize else metric

    def _initial_point(self, configuration: Mapping[str, object]) -> NDArray[np.float64]:
        if self.space.all_points is None:
            return self.space.remember(configuration, 'initial_configurations')
        point = self.space.to_unit(configuration, 'initial_configurations')
        if point.tobytes() not in map(np.ndarray.tobytes, self.space.all_points):
            raise ArgumentError('initial_configurations', configuration, 'configurations that `candidates` allows')
        return point

    def _decide(self) -> Trial | None:
        raise NotImplementedError

    def _learn(self, trial: Trial) -> None:
        """Called after every tell, when the trial's curve has grown or failed."""

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode()), self.asks])

    def _start(self, epoch: int, point: NDArray[np.float64] | None = None) -> Trial | None:
        """The first step of a new trial: at `point`, else the next initial one, else a random one; None: all tried."""
        if point is None and self._initial:
            point = self._initial[0]
        if point is None:
            point = self.space.draw(self._rng('draw'), self._tried)
        return None if point is None else Trial(len(self.curves), self.space.from_unit(point), 0, epoch, point)

    def _continue(self, curve: LearningCurve, epoch: int) -> Trial:
        return Trial(curve.trial_id, curve.configuration, curve.epoch, epoch, curve.point)

    def _by_epoch(
        self, trial: Trial, argument: str, values: Sequence[float] | Mapping[int, float] | None
    ) -> dict[int, float]:
        if values is None:
            return {}
        first, asked = trial.previous_epoch + 1, range(trial.previous_epoch + 1, trial.epoch + 1)
        try:
            pairs = values.items() if isinstance(values, Mapping) else enumerate(values, first)
            by_epoch = {epoch: float(value) for epoch, value in pairs}
        except (TypeError, ValueError, OverflowError):
            accepted = 'a list of numbers, one an epoch, or a mapping from epochs to numbers'
            raise ArgumentError(argument, values, accepted) from None
        if any(epoch not in asked for epoch in by_epoch):
            raise ArgumentError(argument, values, f'epochs from {first} to {trial.epoch}')
        return {int(epoch): value for epoch, value in by_epoch.items()}


def unique(points: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """The points without repetitions, in order."""
    return list({point.tobytes(): point for point in points}.values())
