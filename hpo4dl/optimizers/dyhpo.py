"""DyHPO (Wistuba et al. 2022): a Gaussian process over all learning curves chooses what to train for one more epoch.

1. Warm-up. The first `n_warmup` trials (with many workers, all that are started before the first result) are points of
   a scrambled Sobol sequence, and are promoted as in ASHA, up to the last epoch.
2. Fit. `tell` fits the surrogate on a schedule that depends on nothing but the number of tells, and appends each
   observation in between; `ask` only reads.
3. Choose the paused trial, random point or neighbor of the best trials of the largest expected improvement (EI):
   - horizon='random' (default): over the best value seen plus a margin, a number of epochs ahead (the horizon), and
     divided by how many epochs that takes, which are fewer where training ends before the horizon. Both
     are drawn anew, log-uniformly (after MFPI-random, Rakotoarison et al. 2024, Section 4.2), so that near and far
     looks, sure and large gains take turns. While no EI exceeds `min_ei`, the horizon grows by `horizon_factor`.
   - 'next': the published rule (Algorithm 1): over the incumbent of the next epoch, one epoch ahead.
4. Insurance ('random'). Every `sobol_every`-th trial is the next Sobol point: where the model is wrong, it would not
   look.

`Policy` has the constants. Values of curves, and targets, which the transform makes of them, are larger where better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from scipy.special import ndtri, stdtrit

from ..checks import check_choice, check_count
from ..errors import ArgumentError
from ..surrogate.isolation import own_settings
from ..surrogate.model import Surrogate
from ..trial import Array, LearningCurve, Trial
from .acquisition import Candidates, incumbent_at
from .base import BaseOptimizer
from .cost_model import CostModel, log_prices
from .hyperband import best_first, rung_epochs
from .learning_rates import learning_rates
from .output_transform import OutputTransform
from .policy import Policy
from .surrogate_inputs import InputBuilder


class DyHPO(BaseOptimizer):
    """DyHPO with ask and tell.

    Args:
        configuration_space, max_epochs, minimize, seed, initial_configurations, candidates: as in `BaseOptimizer`.
        num_configurations: new points scored before each decision; default 1000.
        device: where the surrogate is fitted; default the CPU.
        horizon: 'random' (default), or 'next', the published rule.
        policy: the constants of the method; default `Policy()`.
    """

    @own_settings()
    def __init__(
        self,
        configuration_space: ConfigurationSpace,
        max_epochs: int,
        *,
        num_configurations: int = 1000,
        device: str | None = None,
        horizon: str = 'random',
        policy: Policy | None = None,
        **race: Any,
    ) -> None:
        super().__init__(configuration_space, max_epochs, **race)
        self.num_configurations = check_count('num_configurations', num_configurations)
        self.horizon = check_choice('horizon', horizon, ('random', 'next'))
        self.policy = Policy() if policy is None else policy
        if not isinstance(self.policy, Policy):
            raise ArgumentError('policy', policy, 'a Policy')
        rates = learning_rates(self.space) if max_epochs < self.policy.short_race else {}
        self.surrogate = Surrogate(self.space.n_features, self.policy.surrogate, device, rates)
        self.transform: OutputTransform | None = None
        """From values to targets, as of the last fit; None before any value."""
        self.costs: CostModel | None = None
        """What training costs, as of the last fit; None: no costs were told."""
        self._builder = InputBuilder(self.space, self.max_epochs, self.seed, self.policy)
        is_long = horizon == 'random' and max_epochs >= self.policy.short_race
        self._initial_epochs = self.policy.initial_epochs if is_long else 1
        self._tells = 0
        self._next_fit = 2
        self._n_warmup = self.policy.n_warmup

    @own_settings()
    def in_warmup(self) -> bool:
        """Whether the next step is one of the warm-up."""
        return self._warmup_step() is not None

    @own_settings()
    def score(self) -> Candidates | None:
        """The candidates of the next decision, all predictions exact.

        None where that decision needs none: in the warm-up, at a Sobol point's turn, or when nothing is left to train.
        """
        if self.transform is None or self._scheduled_step() is not None:
            return None
        candidates = self._score(self.transform)
        if candidates is not None:
            candidates.prediction.refine(np.arange(len(candidates.target_epoch)))
        return candidates

    @own_settings()
    def forecast(self, trial: LearningCurve | Array, epochs: Sequence[int], quantiles: Sequence[float]) -> Array:
        """(quantiles, epochs) quantiles of the metrics of a trial, or of a new point (d,).

        Raises:
            ArgumentError: no value has been told yet.
        """
        mean, scale = self.predict(trial, epochs)
        levels = np.asarray(quantiles, dtype=float)
        standard = stdtrit(self.policy.surrogate.t_dof, 1 - levels if self.minimize else levels)
        return self.metrics_of(mean + standard[:, None] * scale)

    @own_settings()
    def predict(self, trial: LearningCurve | Array, epochs: Sequence[int]) -> tuple[Array, Array]:
        """(epochs,) means and (epochs,) scales of targets, which are Student's t with `t_dof` degrees of freedom.

        Raises:
            ArgumentError: no value has been told yet.
        """
        if self.transform is None:
            raise ArgumentError('trial', trial, 'a race that has a value: the surrogate knows nothing yet')
        curve = trial if isinstance(trial, LearningCurve) else LearningCurve(-1, {}, np.asarray(trial))
        inputs = self._builder.inputs(self.transform, [curve] * len(epochs), epochs)
        mean, std = self.surrogate.predict(inputs)
        variance = (std**2 + self.surrogate.noise(inputs.t)) * self.surrogate.variance_factor(curve.trial_id)
        return mean, self.policy.forecast_scale * np.sqrt(variance)

    @own_settings()
    def predicted_ends(self, trial_ids: Sequence[int]) -> Array:
        """(n,) predicted targets of n trials at `max_epochs`; the best values as long as none can be predicted."""
        if self.transform is None:
            return np.array([max(self.curves[trial_id].values, default=-math.inf) for trial_id in trial_ids])
        curves = [self.curves[trial_id] for trial_id in trial_ids]
        inputs = self._builder.inputs(self.transform, curves, [self.max_epochs] * len(curves))
        return self.surrogate.predict(inputs)[0]

    def expected_metric(self, trial_id: int, epoch: int) -> float:
        """A trial's metric at an epoch as it is believed to be, which is not the one seen: the best of many is luck."""
        return math.nan if self.transform is None else float(self.forecast(self.curves[trial_id], [epoch], [0.5])[0, 0])

    def metrics_of(self, targets: Array) -> Array:
        """The metrics of these targets, of any shape; once a value has been told."""
        assert self.transform is not None
        return self.signed(self.transform.inverse(targets))

    @own_settings()
    def expected_gain(self) -> float:
        """Expected improvement of the best metric, in its unit, by training the most promising candidate to the end.

        Infinite in the warm-up, of which nothing can be said. It is a lower bound of what the race will gain, which
        trains more than one (docs/resume.md).
        """
        if self.transform is None or self.in_warmup():
            return math.inf
        candidates = self._score(self.transform, (self.max_epochs, 0.0))
        if candidates is None:
            return 0.0
        top, prediction = list(islice(candidates.by_ei(), 20)), candidates.prediction
        if not top:
            return math.inf
        normal = ndtri((np.arange(200) + 0.5) / 200)
        values = self.transform.inverse(prediction.mean[top, None] + prediction.std[top, None] * normal)
        return float(np.maximum(values - self._best_value(), 0).mean(1).max())

    @own_settings()
    def _learn(self, trial: Trial) -> None:
        self._tells += 1
        if self._tells == 1:
            self._n_warmup = max(self.policy.n_warmup, len(self.curves))
        if self._tells < self._next_fit:
            if self.transform is not None:
                curve = self.curves[trial.id]
                self.surrogate.append(*self._builder.observations(self.transform, [curve], trial.previous_epoch))
            return
        values = [value for curve in self.curves.values() for value in curve.values]
        if values:
            interval = min(int(self._tells * self.policy.fit_interval), self.policy.max_tells_between_fits)
            self._next_fit = self._tells + max(1, interval)
            self.transform = OutputTransform.fit(np.array(values), self.policy)
            self.costs = CostModel.fit(self.space, self.curves.values())
            self.surrogate.fit(*self._builder.observations(self.transform, self._by_best_value()))

    @own_settings()
    def _decide(self) -> Trial | None:
        trial = self._scheduled_step()
        if trial is not None:
            return trial
        if self.transform is None:  # all were started, and there is no value yet
            paused = self._paused()
            return self._next_epoch(paused[0]) if paused else None
        candidates = self._score(self.transform)
        if candidates is None:
            return None
        for index in candidates.by_ei():
            if index < len(candidates.paused):
                return self._next_epoch(candidates.paused[index])
            point = candidates.points[index - len(candidates.paused)]
            if self.space.is_legal(point):
                return self._start(self._initial_epochs, np.array(point))
        return self._start(self._initial_epochs)

    def _scheduled_step(self) -> Trial | None:
        """The next step where the model has no say: of the warm-up, or a Sobol point when it is its turn."""
        trial = self._warmup_step()
        if trial is None and self.horizon == 'random' and len(self.curves) % self.policy.sobol_every == 0:
            return self._start(self._initial_epochs, self._sobol_point())
        return trial

    def _warmup_step(self) -> Trial | None:
        """The next step of the warm-up; None when it is over, or waits for running trials."""
        rungs = [0, *rung_epochs(self.max_epochs, self.policy.eta)]
        warmup = [c for c in self.curves.values() if c.trial_id < self._n_warmup and c.failed is None]
        for rung, above in reversed(list(zip(rungs, rungs[1:]))):
            reached = best_first([curve for curve in warmup if curve.epoch >= rung], rung)
            for curve in reached[: len(reached) // self.policy.eta if rung else None]:
                if curve.epoch < above and curve.trial_id not in self.running:
                    return self._next_epoch(curve)
        if self._initial or len(self.curves) < self.policy.n_warmup or self.transform is None:
            return self._start(1, None if self._initial else self._sobol_point())
        return None

    def _next_epoch(self, curve: LearningCurve) -> Trial:
        return self._continue(curve, curve.epoch + 1)

    def _sobol_point(self) -> Array | None:
        return self.space.sobol_point(self.seed, len(self.curves), self._tried) if self.policy.sobol else None

    def _paused(self) -> list[LearningCurve]:
        return [c for c in self.curves.values() if self.is_alive(c.trial_id) and c.trial_id not in self.running]

    def _by_best_value(self) -> list[LearningCurve]:
        return sorted(self.curves.values(), key=lambda c: -max(c.values, default=-math.inf))

    def _best_value(self) -> float:
        return max(max(curve.values) for curve in self.curves.values() if curve.values)

    def _score(self, transform: OutputTransform, fixed: tuple[int, float] | None = None) -> Candidates | None:
        """Predict paused trials and new points at a horizon, over a margin: those given by `fixed`, or drawn."""
        known = self.surrogate.trials()
        paused = self._paused()
        paused = [c for c in paused if c.trial_id in known] or paused
        points = self._new_points()
        if not paused and not len(points):
            return None
        epoch = np.array([curve.epoch for curve in paused] + [0] * len(points), dtype=np.int64)
        # A trial that begins counts as if it were as predicted, so that the next one begins elsewhere. One that goes on
        # does not: believed, it would leave too little to be gained near it, which is where the best trials are.
        begun = [trial for trial in self.running.values() if not trial.previous_epoch]
        running = self._builder.inputs(transform, [self.curves[t.id] for t in begun], [t.epoch for t in begun])
        inputs = self._builder.inputs(transform, paused, epoch[: len(paused)] + 1)
        posterior = self.surrogate.candidates(inputs, self.space.features(points), running)

        log_price = log_prices(self.costs, paused, points, self.policy.cost_exponent)

        def at_horizon(horizon: int, threshold: Array) -> Candidates:
            target_epoch = np.minimum(epoch + horizon, self.max_epochs)
            t = self._builder.log_epochs(target_epoch[: len(paused)])
            t_new = float(self._builder.log_epochs([horizon])[0])
            noise = self.surrogate.noise(self._builder.log_epochs(target_epoch))
            log_epochs = self.policy.cost_exponent * np.log((target_epoch - epoch) / horizon)
            prediction = posterior.predict(t, t_new)
            return Candidates(paused, points, target_epoch, threshold, prediction, noise, log_price + log_epochs)

        if fixed is None and self.horizon == 'next':
            return at_horizon(1, transform(incumbent_at(epoch + 1, self.curves.values())))
        horizon, margin = fixed or draw_horizon(self._rng('horizon'), self.max_epochs, self.policy)
        threshold = transform(np.array([self._best_value()])) + margin
        candidates = at_horizon(horizon, threshold)
        while horizon < self.max_epochs and next(candidates.by_ei(math.log(self.policy.min_ei)), None) is None:
            horizon = min(self.policy.horizon_factor * horizon, self.max_epochs)
            candidates = at_horizon(horizon, threshold)
        return candidates

    def _new_points(self) -> Array:
        """(m, d) points that were not tried: random ones, and neighbors of the best trials."""
        n, policy = self.num_configurations, self.policy
        n_near = int(n * policy.neighbor_fraction) if self.space.all_points is None else 0
        points = [self.space.sample(self._rng('sample'), n - n_near)]
        parents = [curve.point for curve in self._by_best_value() if curve.values][: policy.neighbor_parents]
        if n_near and parents:
            # The purpose is part of the seed: spelled otherwise, recorded races could not be replayed.
            rng, n_each = self._rng('neighbours'), n_near // len(policy.neighbor_stds)
            points += [self.space.neighbors(rng, np.array(parents), n_each, std) for std in policy.neighbor_stds]
        untried = [p for p in np.concatenate(points) if p.tobytes() not in self._tried]
        if not untried and self.space.all_points is not None:
            last = self.space.draw(self._rng('draw'), self._tried)
            untried = [] if last is None else [last]
        return np.array(untried).reshape(-1, len(self.space.names))


def draw_horizon(rng: np.random.Generator, max_epochs: int, policy: Policy) -> tuple[int, float]:
    """Draw the horizon, in epochs, and the margin, in targets; both are log-uniform."""
    u, v = rng.random(2)
    (low, high), (least, most) = policy.horizon_range, policy.margin_range
    return round(float(max_epochs ** (low + (high - low) * u))), float(least**v * most ** (1 - v))
