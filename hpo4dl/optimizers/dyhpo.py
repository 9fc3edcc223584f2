"""DyHPO (Wistuba et al. 2022): a race in which a surrogate picks, epoch by epoch, whom to train one step further.

The race starts like ASHA, until thirteen trials have started, or all that many workers begin with, at places that a
Sobol sequence spreads evenly over the space. From then on, every decision weighs fresh points of the space, neighbours
of the best trials, and all paused trials, by the expected improvement that the surrogate sees in them at a horizon:

- 'random' (default): a number of epochs ahead, and a margin by which the best value seen at any epoch is to be beaten,
  both drawn anew for each decision, log-uniformly (after MFPI-random, Rakotoarison et al. 2024, Section 4.2): so
  decisions that look near and far, and that ask for little and for much, take turns; where nothing is to be expected
  so near, the decision looks farther; a new point begins with two epochs, where epochs are not few; and every fourth
  configuration is the next place of the sequence, whatever the surrogate believes: where it is wrong, it would not
  look;
- 'next': the published rule: one epoch ahead, improvement on the incumbent of that fidelity (Algorithm 1).

The surrogate learns in `tell`: it is fitted on a schedule that depends on nothing but the number of tells, and
conditioned on each observation in between; `ask` only reads.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ..checks import check_count
from ..errors import ArgumentError
from ..surrogate.kernels import Inputs
from ..surrogate.model import FREEDOM, Surrogate
from ..surrogate.prediction import Prediction
from ..trial import LearningCurve, Trial
from .acquisition import incumbent_at, log_expected_improvement
from .base import BaseOptimizer
from .hyperband import best_first, rung_epochs
from .output_transform import WORST, Normaliser

Array = NDArray[np.float64]

HORIZONS = ('random', 'next')
START, ETA = 13, 3
"""Trials that the race starts like ASHA with, and how many of them compete for each promotion. With more workers, all
that began before the first value was told compete."""
FIRST, FEW = 2, 20
"""Epochs that a new configuration is begun with after the start, and the least `max_epochs` where it is more than one:
the first value alone often says nothing of it."""
EVENLY = 4
"""Each so-many-th configuration stands at the next place of the sequence that the race starts with."""
LEAST_MARGIN = 0.001
"""The smallest margin, of targets; the largest is 1, about the standard deviation of all values seen."""
LEAST_GAIN, FARTHER = 1e-3, 4
"""Where no expected improvement, of targets, is as large as the one, the horizon is so many times as far."""
HIDDEN = 0.3
"""Share of the values that are learned without their curve."""
SCALE = 0.87
"""Forecasts are Student's t: most curves go on as predicted, and some do not at all. Their scale is this share of the
surrogate's deviation, chosen so that intervals hold what they should on the benchmarks
(examples/benchmarks/README.md)."""
MAX_ROWS = 800
"""Observations that the surrogate is conditioned on, those of the best trials, at each fit."""
MAX_TELLS = 50
"""Tells from one fit to the next at most; until 500 tells it is a tenth of them."""


@dataclass(frozen=True)
class Weighing:
    """What a decision is taken from: k paused trials, then new points, m together."""

    paused: list[LearningCurve]
    points: Array
    """(m - k, d)"""
    ahead: NDArray[np.int64]
    """(m,) epochs that values are predicted at."""
    to_beat: Array
    """(m,) or (1,) what is to be improved on, as a target (`normaliser`)."""
    predicted: Prediction
    """Targets of all m."""

    def log_gain(self, index: NDArray[np.int64] | slice = slice(None)) -> Array:
        """(m,) log expected improvement, or that of some; an upper bound where a deviation is one."""
        to_beat = np.broadcast_to(self.to_beat, self.ahead.shape)
        predicted = self.predicted
        gain = log_expected_improvement(predicted.mean[index], predicted.std[index], to_beat[index])
        return np.where(np.isnan(gain), -math.inf, gain)

    def by_gain(self, least: float = -math.inf) -> Iterator[int]:
        """Those of a log expected improvement > `least`, the largest first; computed for none that cannot be next."""
        gain = self.log_gain()
        batch = 30
        while True:
            best = int(gain.argmax())
            if gain[best] <= least:
                return
            if self.predicted.is_exact[best]:
                gain[best] = -math.inf
                yield best
            else:
                next_ones = np.argsort(-gain, kind='stable')[:batch]
                next_ones = next_ones[~self.predicted.is_exact[next_ones]]
                self.predicted.refine(next_ones)
                gain[next_ones] = self.log_gain(next_ones)
                batch *= 2


class DyHPO(BaseOptimizer):
    """DyHPO with ask and tell.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `BaseOptimizer`.
        num_configurations: new points weighed before each decision; default 1000.
        device: where the surrogate is fitted; default the CPU.
        horizon: 'random' (default), or 'next', the published rule.
    """

    def __init__(
        self,
        configuration_space: ConfigurationSpace,
        max_epochs: int,
        *,
        num_configurations: int = 1000,
        device: str | None = None,
        horizon: str = 'random',
        **race: Any,
    ) -> None:
        super().__init__(configuration_space, max_epochs, **race)
        if horizon not in HORIZONS:
            raise ArgumentError('horizon', horizon, ' or '.join(map(repr, HORIZONS)))
        self.num_configurations = check_count('num_configurations', num_configurations)
        self.horizon = horizon
        self._begin = FIRST if horizon == 'random' and max_epochs >= FEW else 1
        self._surrogate = Surrogate(self.space.n_features, self.seed, device)
        self._normalise: Normaliser | None = None
        self._tells = 0
        self._competitors = START
        self._next_fit = 2

    def _learn(self, trial: Trial) -> None:
        self._tells += 1
        if self._tells == 1:
            self._competitors = max(START, len(self.curves))
        curve = self.curves[trial.id]
        if self._tells < self._next_fit:
            if self._normalise is not None:
                self._surrogate.append(*self._observed([curve], since=trial.previous_epoch))
            return
        values = [value for curve in self.curves.values() for value in curve.values]
        if values:
            self._next_fit = self._tells + max(1, min(self._tells // 10, MAX_TELLS))
            self._normalise = Normaliser.of(np.array(values))
            self._surrogate.fit(*self._observed(self._by_best()))

    def weigh(self) -> Weighing | None:
        """What the next decision will be taken from.

        None when nothing is weighed: the race starts, the sequence has its turn, or there is nothing left to train.
        """
        if self._normalise is None or self._unweighed() is not None:
            return None
        weighed = self._weigh(self._normalise)
        if weighed is not None:
            weighed.predicted.refine(np.arange(len(weighed.ahead)))
        return weighed

    def forecast(self, trial: LearningCurve | Array, epochs: Sequence[int], quantiles: Sequence[float]) -> Array:
        """(quantiles, epochs) the quantiles of the metrics that a trial, or a new point (d,), is expected to have.

        Raises:
            ArgumentError: no value has been told yet.
        """
        mean, scale = self.predict(trial, epochs)
        levels = np.asarray(quantiles, dtype=float)
        standard = stdtrit(FREEDOM, 1 - levels if self.minimize else levels)
        return self.metrics_of(mean + standard[:, None] * scale)

    def predict(self, trial: LearningCurve | Array, epochs: Sequence[int]) -> tuple[Array, Array]:
        """What `forecast` tells of, as targets (`normaliser`): (epochs,) means and (epochs,) scales.

        Each target is distributed as its mean, plus its scale times Student's t with `FREEDOM` degrees of freedom.
        """
        if self._normalise is None:
            raise ArgumentError('trial', trial, 'a race that has a value: the surrogate knows nothing yet')
        curve = trial if isinstance(trial, LearningCurve) else LearningCurve(-1, {}, np.asarray(trial))
        rows = self._rows([curve] * len(epochs), epochs)
        mean, deviation = self._surrogate.predict(rows)
        variance = deviation**2 + self._surrogate.noise(rows)
        return mean, SCALE * np.sqrt(variance * self._surrogate.variance_factor(curve.trial_id))

    def targets_of(self, metrics: Array) -> Array:
        """The targets of the surrogate that stand for metrics, of any shape; once a value was told."""
        assert self._normalise is not None
        return self._normalise(self.signed(metrics))

    def metrics_of(self, targets: Array) -> Array:
        """The metrics that stand for targets of the surrogate, of any shape; once a value was told."""
        assert self._normalise is not None
        return self.signed(self._normalise.inverse(targets))

    def expected_gain(self) -> float:
        """What training the most promising trial, or new point, to the end is expected to improve the best metric by.

        In the metric's units. Infinite as long as the race starts: nothing can be said then. It is a lower bound of
        what the race will bring, which trains more than one (README, `stop_when_gain_below`).
        """
        if self._normalise is None or self._first() is not None:
            return math.inf
        weighed = self._weigh(self._normalise, (self.max_epochs, 0.0))
        if weighed is None:
            return 0.0
        top, predicted = list(islice(weighed.by_gain(), 20)), weighed.predicted
        spread = ndtri((np.arange(200) + 0.5) / 200)
        values = self._normalise.inverse(predicted.mean[top, None] + predicted.std[top, None] * spread)
        return float(np.maximum(values - self._best(), 0).mean(1).max())

    def _decide(self) -> Trial | None:
        trial = self._unweighed()
        if trial is not None:
            return trial
        if self._normalise is None:  # all were started, and there is no value yet
            paused = self._paused()
            return self._continue(paused[0], paused[0].epoch + 1) if paused else None
        weighed = self._weigh(self._normalise)
        if weighed is None:
            return None
        for index in weighed.by_gain():
            if index < len(weighed.paused):
                return self._continue(weighed.paused[index], weighed.paused[index].epoch + 1)
            point = weighed.points[index - len(weighed.paused)]
            if self.space.is_legal(point):
                return self._start(self._begin, np.array(point))
        return self._start(self._begin)

    def _paused(self) -> list[LearningCurve]:
        return [c for c in self.curves.values() if self.is_alive(c.trial_id) and c.trial_id not in self.running]

    def _by_best(self) -> list[LearningCurve]:
        return sorted(self.curves.values(), key=lambda c: -max(c.values, default=-math.inf))

    def _best(self) -> float:
        """The best value seen at any epoch."""
        return max(max(curve.values) for curve in self.curves.values() if curve.values)

    def _best_by_epoch(self) -> dict[int, float]:
        best: dict[int, float] = {}
        for curve in self.curves.values():
            for epoch, value in zip(curve.epochs, curve.values):
                best[epoch] = max(value, best.get(epoch, -math.inf))
        return best

    def _first(self) -> Trial | None:
        """The next step of the start; None when it is over, or waits for what is running."""
        rungs = [0, *rung_epochs(self.max_epochs, ETA)[:-1]]
        competing = (curve for curve in self.curves.values() if curve.trial_id < self._competitors)
        started = [curve for curve in competing if curve.failed is None]
        for rung, above in reversed(list(zip(rungs, rungs[1:]))):
            reached = best_first([curve for curve in started if curve.epoch >= rung], rung)
            for curve in reached[: len(reached) // ETA if rung else None]:
                if curve.epoch < above and curve.trial_id not in self.running:
                    return self._continue(curve, curve.epoch + 1)
        if self._initial or len(self.curves) < START or self._normalise is None:
            return self._start(1, None if self._initial else self._spread())
        return None

    def _unweighed(self) -> Trial | None:
        """What comes next whatever the surrogate believes: a step of the start, or the sequence when it is its turn."""
        first = self._first()
        if first is None and self.horizon == 'random' and len(self.curves) % EVENLY == 0:
            return self._start(self._begin, self._spread())
        return first

    def _spread(self) -> Array | None:
        return self.space.sobol_point(self.seed, len(self.curves), self._tried)

    def _weigh(self, normalise: Normaliser, horizon: tuple[int, float] | None = None) -> Weighing | None:
        """Paused trials and new points, with their predictions at a horizon: epochs ahead, and margin."""
        known = self._surrogate.trials()
        paused = self._paused()
        paused = [c for c in paused if c.trial_id in known] or paused
        points = self._new_points()
        if not paused and not len(points):
            return None
        epoch = np.array([curve.epoch for curve in paused] + [0] * len(points), dtype=np.int64)
        # A trial that begins counts as if it were as predicted, so that the next one begins elsewhere. One that goes on
        # does not: believed, it would leave too little to be gained near it, which is where the best trials are.
        begins = [trial for trial in self.running.values() if not trial.previous_epoch]
        running = self._rows([self.curves[trial.id] for trial in begins], [trial.epoch for trial in begins])
        at = self._rows(paused, epoch[: len(paused)] + 1)
        candidates = self._surrogate.candidates(at, self.space.features(points), running)

        def at_horizon(further: int, margin: float, best: Array) -> Weighing:
            ahead = np.minimum(epoch + further, self.max_epochs)
            t, t_new = self._log_epochs(ahead[: len(paused)]), float(self._log_epochs([further])[0])
            return Weighing(paused, points, ahead, best + margin, candidates.predict(t, t_new))

        if horizon is None and self.horizon == 'next':
            return at_horizon(1, 0.0, normalise(incumbent_at(epoch + 1, self._best_by_epoch())))
        best = normalise(np.array([self._best()]))
        further, margin = horizon or draw_horizon(self._rng('horizon'), self.max_epochs)
        weighed = at_horizon(further, margin, best)
        while further < self.max_epochs and next(weighed.by_gain(math.log(LEAST_GAIN)), None) is None:
            further = min(FARTHER * further, self.max_epochs)
            weighed = at_horizon(further, margin, best)
        return weighed

    def _new_points(self) -> Array:
        """(m, d) points that were not tried: three of four fresh, the others near the best trials."""
        n = self.num_configurations
        near = n // 4 if self.space.all_points is None else 0
        points = [self.space.sample(self._rng('sample'), n - near)]
        best = [curve for curve in self._by_best() if curve.values][:5]
        if near and best:
            around = np.array([curve.point for curve in best])
            rng = self._rng('neighbours')
            points += [self.space.neighbours(rng, around, near // 2, scale) for scale in (0.1, 0.03)]
        fresh = [p for p in np.concatenate(points) if p.tobytes() not in self._tried]
        if not fresh and self.space.all_points is not None:
            left = self.space.draw(self._rng('draw'), self._tried)
            fresh = [] if left is None else [left]
        return np.array(fresh).reshape(-1, len(self.space.names))

    def _observed(self, curves: Iterable[LearningCurve], since: int = 0) -> tuple[Inputs, Array]:
        """Observations and their normalised values: curves thinned to log-spaced epochs, those > `since` alone."""
        assert self._normalise is not None
        chosen: list[LearningCurve] = []
        epochs: list[int] = []
        targets: list[float] = []
        shares: list[float] = []
        for curve in curves:
            z = self._normalise(np.array(curve.values))
            kept = [i for i in _thinned(len(z)) if curve.epochs[i] > since]
            epochs += [curve.epochs[i] for i in kept]
            targets += [float(z[i]) for i in kept]
            if curve.failed is not None and curve.epoch < self.max_epochs:
                kept.append(len(z))
                epochs.append(curve.epoch + 1)
                targets.append(WORST)
            chosen += [curve] * len(kept)
            shares += draw_shares([self.seed, curve.trial_id], len(z) + 1)[kept].tolist()
            if len(targets) >= MAX_ROWS:
                break
        return self._rows(chosen, epochs, shares), np.array(targets)

    def _rows(
        self,
        curves: Sequence[LearningCurve],
        epochs: Sequence[int] | NDArray[np.int64],
        shares: Sequence[float] | None = None,
    ) -> Inputs:
        """Each curve at its epoch, with the values before it, or the first `shares` (n,) of them."""
        length = np.array([bisect_left(c.epochs, epoch) for c, epoch in zip(curves, epochs)], dtype=np.int64)
        if shares is not None:
            length = np.ceil(length * np.array(shares)).astype(np.int64)
        padded = np.zeros((len(curves), length.max(initial=0)))
        for row, curve, n in zip(padded, curves, length):
            row[:n] = curve.values[:n]
        if self._normalise is not None:
            padded = np.where(np.arange(padded.shape[1]) < length[:, None], self._normalise(padded), 0.0)
        return Inputs(
            trial=np.array([curve.trial_id for curve in curves], dtype=np.int64),
            x=self.space.features(np.array([curve.point for curve in curves]).reshape(-1, len(self.space.names))),
            t=self._log_epochs(epochs),
            curve=padded,
            length=length,
        )

    def _log_epochs(self, epochs: Sequence[int] | NDArray[np.int64]) -> Array:
        """(n,) log(epoch) / log(max_epochs)."""
        logs: Array = np.log(np.maximum(np.asarray(epochs, dtype=float), 1))
        return logs / math.log(max(self.max_epochs, 2))


def draw_horizon(rng: np.random.Generator, max_epochs: int) -> tuple[int, float]:
    """Epochs ahead, from 1 to max_epochs, and the margin, from `LEAST_MARGIN` to 1; both log-uniform."""
    further, margin = rng.random(2)
    return round(float(max_epochs**further)), float(LEAST_MARGIN**margin)


def draw_shares(seed: Sequence[int], n: int) -> Array:
    """(n,) how much of a curve is shown with each of its values: none with a probability of `HIDDEN`, else uniform.

    Values are learned with less of the curve than there was before them, since that is how they are predicted, many
    epochs ahead. Shown whole, the curve explains everything, and what has none is predicted as if it began.
    """
    hidden, share = np.random.default_rng(seed).random((n, 2)).T
    return np.where(hidden < HIDDEN, 0.0, share)


def _thinned(n: int) -> list[int]:
    """Indices 0, 1, 2, 3, 5, 8, 12, ... of a curve of n values, and its last."""
    kept, step = [], 0
    while step < n - 1:
        kept.append(step)
        step = max(step + 1, round(step * 1.5))
    return [*kept, n - 1] if n else []

