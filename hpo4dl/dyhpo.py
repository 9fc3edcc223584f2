"""DyHPO (Wistuba et al. 2022): a race in which a surrogate picks, epoch by epoch, whom to train one step further.

Every decision weighs fresh points of the space, neighbours of the best trials, and all paused trials, by the expected
improvement that the surrogate sees in them at a horizon:

- 'random' (default): each decision looks h epochs ahead of every candidate, h drawn from 1, ..., max_epochs, and asks
  for improvement on the best value seen at any epoch (after MFPI-random of Rakotoarison et al. 2024);
- 'next': the published rule: one epoch ahead, improvement on the incumbent of that fidelity (Algorithm 1).

The surrogate learns in `tell`, on a schedule that depends on nothing but the number of observations; `ask` only reads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from .acquisition import incumbent_at, log_expected_improvement
from .errors import ArgumentError
from .race import Race, check_count
from .surrogate import WORST, Normaliser, Rows, Surrogate
from .trial import LearningCurve, Trial

Array = NDArray[np.float64]

HORIZONS = ('random', 'next')
INITIAL = 8
"""Random configurations that are trained for an epoch before the surrogate is asked."""
MAX_ROWS = 800
"""Observations that the surrogate is conditioned on; those of the best trials are kept."""


class DyHPO(Race):
    """DyHPO with ask and tell.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `Race`.
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
        self._surrogate = Surrogate(self.space.n_features, self.seed, device)
        self._observations = 0
        self._next_fit = 2

    def _learn(self, curve: LearningCurve) -> None:
        self._observations += 1
        if self._observations >= self._next_fit:
            self._next_fit = self._observations + max(1, self._observations // 10)
            rows, z = self._observed()
            if len(z):
                self._surrogate.fit(rows, z)

    def _decide(self) -> Trial | None:
        values = [value for curve in self.curves.values() for value in curve.values]
        if self._initial or len(self.curves) < INITIAL or not values:
            first = self._start(1)
            if first is not None:
                return first
        paused = [c for c in self.curves.values() if self.is_alive(c.trial_id) and c.trial_id not in self.running]
        points = self._new_points()
        if not len(points) and not paused:
            return self._start(1)
        rows, z = self._observed()
        if not len(z):  # nothing but trials that run
            return self._start(1) or (self._continue(paused[0], paused[0].epoch + 1) if paused else None)
        score = self._score(rows, z, paused, points)
        for index in np.argsort(-score, kind='stable'):
            if index < len(paused):
                return self._continue(paused[index], paused[index].epoch + 1)
            point = points[index - len(paused)]
            if self.space.is_legal(point):
                return self._start(1, np.array(point))
        return self._start(1)

    def _score(self, rows: Rows, z: Array, paused: list[LearningCurve], points: Array) -> Array:
        """(m,) log expected improvement of the paused trials, then of the new points."""
        epochs = np.array([c.epoch for c in paused] + [0] * len(points))
        if self.horizon == 'next':
            ahead = epochs + 1
        else:
            ahead = np.minimum(epochs + self._rng('horizon').integers(1, self.max_epochs + 1), self.max_epochs)
        rows, z = self._believe(rows, z)
        mu, sigma = self._surrogate.predict(rows, z, self._at(paused, points, ahead))
        best_by_epoch: dict[int, float] = {}
        normalise = self._normaliser()
        for curve in self.curves.values():
            for epoch, value in zip(curve.epochs, normalise(np.array(curve.values))):
                best_by_epoch[epoch] = max(float(value), best_by_epoch.get(epoch, -math.inf))
        best = incumbent_at(ahead, best_by_epoch) if self.horizon == 'next' else max(best_by_epoch.values())
        return log_expected_improvement(mu, sigma, best)

    def _believe(self, rows: Rows, z: Array) -> tuple[Rows, Array]:
        """The observations, and for each running trial its predicted mean where it trains to (Kriging believer)."""
        if not self.running:
            return rows, z
        running = [self.curves[trial_id] for trial_id in self.running]
        epochs = np.array([trial.epoch for trial in self.running.values()])
        at = self._at(running, np.empty((0, len(self.space.names))), epochs)
        mu, _ = self._surrogate.predict(rows, z, at)
        return _stack(rows, at), np.concatenate([z, mu])

    def _new_points(self) -> Array:
        """(m, d) points that were not tried: three of four fresh, the others near the best trials."""
        n = self.num_configurations
        near = n // 4 if self.space.finite is None else 0
        points = [self.space.sample(self._rng('sample'), n - near)]
        best = sorted((c for c in self.curves.values() if c.values), key=lambda c: -max(c.values))[:5]
        if near and best:
            around = np.array([curve.point for curve in best])
            rng = self._rng('neighbours')
            points += [self.space.neighbours(rng, around, near // 2, scale) for scale in (0.1, 0.03)]
        fresh = [p for p in np.concatenate(points) if p.tobytes() not in self._tried]
        if not fresh and self.space.finite is not None:
            left = self.space.draw(self._rng('draw'), self._tried)
            fresh = [] if left is None else [left]
        return np.array(fresh).reshape(-1, len(self.space.names))

    def _normaliser(self) -> Normaliser:
        return Normaliser.of(np.array([value for curve in self.curves.values() for value in curve.values]))

    def _observed(self) -> tuple[Rows, Array]:
        """The observations that the surrogate sees, thinned to log-spaced epochs, and their normalised values."""
        curves = [c for c in self.curves.values() if c.values or c.failed is not None]
        if not any(c.values for c in curves):
            return self._rows([], [], [], []), np.empty(0)
        normalise = self._normaliser()
        curves.sort(key=lambda c: (-max(c.values, default=-math.inf), c.trial_id))
        chosen: list[LearningCurve] = []
        epochs: list[int] = []
        targets: list[float] = []
        curve_so_far: list[Array] = []
        for curve in curves:
            z = normalise(np.array(curve.values))
            for i in _thinned(len(z)):
                chosen.append(curve)
                epochs.append(curve.epochs[i])
                targets.append(float(z[i]))
                curve_so_far.append(z[:i])
            if curve.failed is not None and curve.epoch < self.max_epochs:
                chosen.append(curve)
                epochs.append(curve.epoch + 1)
                targets.append(WORST)
                curve_so_far.append(z)
            if len(targets) >= MAX_ROWS:
                break
        rows = self._rows([c.trial_id for c in chosen], [c.point for c in chosen], epochs, curve_so_far)
        return rows, np.array(targets)

    def _at(self, curves: list[LearningCurve], points: Array, epochs: NDArray[np.int64]) -> Rows:
        """Trials, then points that belong to none, at the given epochs."""
        normalise = self._normaliser()
        so_far = [normalise(np.array(c.values)) if c.values else np.empty(0) for c in curves]
        so_far += [np.empty(0)] * len(points)
        ids = [c.trial_id for c in curves] + list(range(-1, -len(points) - 1, -1))
        return self._rows(ids, [*(c.point for c in curves), *points], list(epochs), so_far)

    def _rows(self, trials: list[int], points: list[Array], epochs: list[int], curves: list[Array]) -> Rows:
        padded = np.zeros((len(curves), self.max_epochs))
        for i, values in enumerate(curves):
            padded[i, : len(values)] = values
        return Rows(
            trial=np.array(trials, dtype=np.int64),
            x=self.space.encode(np.array(points).reshape(-1, len(self.space.names))),
            t=np.log(np.maximum(np.array(epochs, dtype=float), 1)) / math.log(max(self.max_epochs, 2)),
            curve=padded,
            length=np.array([len(values) for values in curves], dtype=np.int64),
        )


def _thinned(n: int) -> list[int]:
    """Indices 0, 1, 2, 3, 5, 8, 12, ... of a curve of n values, and its last."""
    kept, step = [], 0
    while step < n - 1:
        kept.append(step)
        step = max(step + 1, round(step * 1.5))
    return [*kept, n - 1] if n else []


def _stack(a: Rows, b: Rows) -> Rows:
    return Rows(
        np.concatenate([a.trial, b.trial]),
        np.concatenate([a.x, b.x]),
        np.concatenate([a.t, b.t]),
        np.concatenate([a.curve, b.curve]),
        np.concatenate([a.length, b.length]),
    )
