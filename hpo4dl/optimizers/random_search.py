"""Random search: every configuration is drawn from the space and trained to the end at once."""

from __future__ import annotations

from ..trial import Trial
from .base import BaseOptimizer


class RandomSearch(BaseOptimizer):
    """Random search with full trainings, the baseline of Bergstra & Bengio 2012. Arguments are `BaseOptimizer`'s."""

    def _decide(self) -> Trial | None:
        for curve in self.curves.values():
            if self.is_alive(curve.trial_id) and curve.trial_id not in self.running:
                return self._continue(curve, self.max_epochs)
        return self._start(self.max_epochs)
