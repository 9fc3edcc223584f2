"""Learning curves as inputs and targets of the surrogate."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..space.unit_cube import Space
from ..surrogate.kernels import Inputs
from ..trial import Array, LearningCurve
from .output_transform import OutputTransform
from .policy import Policy

Epochs = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class InputBuilder:
    """Builds the surrogate's inputs; observations are the same whenever they are built."""

    space: Space
    max_epochs: int
    seed: int
    policy: Policy

    def observations(
        self, transform: OutputTransform, curves: Iterable[LearningCurve], since: int = 0
    ) -> tuple[Inputs, Array]:
        """Build n inputs, and their targets (n,): of each curve, thinned log-spaced epochs after `since`.

        Curves after the first `max_rows` observations are left out.
        """
        chosen: list[LearningCurve] = []
        epochs: list[int] = []
        targets: list[float] = []
        visible: list[float] = []
        for curve in curves:
            z = transform(np.array(curve.values))
            kept = [i for i in thinned(len(z), self.policy.thinning) if curve.epochs[i] > since]
            epochs += [curve.epochs[i] for i in kept]
            targets += [float(z[i]) for i in kept]
            if curve.failed is not None and curve.epoch < self.max_epochs:
                kept.append(len(z))
                epochs.append(curve.epoch + 1)
                targets.append(self.policy.failed_target)
            chosen += [curve] * len(kept)
            fractions = draw_visible_fraction([self.seed, curve.trial_id], len(z) + 1, self.policy.hidden_fraction)
            visible += fractions[kept].tolist()
            if len(targets) >= self.policy.max_rows:
                break
        return self.inputs(transform, chosen, epochs, visible), np.array(targets)

    def inputs(
        self,
        transform: OutputTransform,
        curves: Sequence[LearningCurve],
        epochs: Epochs,
        visible_fraction: Sequence[float] | None = None,
    ) -> Inputs:
        """Build n inputs: each curve at its epoch, with the values before it, or the first fraction of these."""
        length = np.array([bisect_left(c.epochs, epoch) for c, epoch in zip(curves, epochs)], dtype=np.int64)
        if visible_fraction is not None:
            length = np.ceil(length * np.array(visible_fraction)).astype(np.int64)
        padded = np.zeros((len(curves), length.max(initial=0)))
        for row, curve, n in zip(padded, curves, length):
            row[:n] = curve.values[:n]
        points = np.array([curve.point for curve in curves]).reshape(-1, len(self.space.names))
        return Inputs(
            trial=np.array([curve.trial_id for curve in curves], dtype=np.int64),
            x=self.space.features(points),
            t=self.log_epochs(epochs),
            curve=np.where(np.arange(padded.shape[1]) < length[:, None], transform(padded), 0.0),
            length=length,
            max_epochs=self.max_epochs,
        )

    def log_epochs(self, epochs: Epochs) -> Array:
        """(n,) log(epoch) / log(max_epochs)."""
        logs: Array = np.log(np.maximum(np.asarray(epochs, dtype=float), 1))
        return logs / math.log(max(self.max_epochs, 2))


def draw_visible_fraction(seed: Sequence[int], n: int, hidden_fraction: float) -> Array:
    """(n,) fractions of the curve before each value: 0 with probability `hidden_fraction`, else uniform in (0, 1).

    Values far ahead, and those of unseen configurations, are predicted without the curve just before them, so they are
    learned so, too. From full curves alone, the curve term would explain everything.
    """
    hidden, fraction = np.random.default_rng(seed).random((n, 2)).T
    return np.where(hidden < hidden_fraction, 0.0, fraction)


def thinned(n: int, ratio: float) -> list[int]:
    """Indices into a curve of n values: 0, 1, 2, 3, 5, 8, 12, ... (`ratio` 1.5), and the last."""
    kept, step = [], 0
    while step < n - 1:
        kept.append(step)
        step = max(step + 1, round(step * ratio))
    return [*kept, n - 1] if n else []
