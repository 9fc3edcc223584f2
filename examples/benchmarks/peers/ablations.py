"""Our DyHPO with one part of it left out, in memory: what each part contributes.

A term of the kernel is left out by a prior that keeps its variance at nothing (`hpo4dl.surrogate.model.PRIORS`).
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np

from peers import ours

REQUIREMENTS: list[str] = []


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    from hpo4dl.optimizers import dyhpo
    from hpo4dl.optimizers import output_transform as normaliser
    from hpo4dl.space import unit_cube as space
    from hpo4dl.surrogate import model as surrogate

    def asinh(self: Any, y: Any) -> Any:
        return np.maximum(np.arcsinh((y - self.centre) / self.scale), normaliser.WORST)

    def rank(self: Any, y: Any) -> Any:
        beyond = np.minimum(np.maximum(y - self.values[-1], 0) * self.slope, normaliser.BEYOND)
        return np.interp(y, self.values, self.scores, left=self.scores[0] - 0.5) + beyond

    nothing = (-30.0, 1e-3)
    left_out = {
        'no-curves': mock.patch.dict(surrogate.PRIORS, s_d=nothing),
        'even-noise': mock.patch.dict(surrogate.PRIORS, s_1=nothing),
        'nothing-lasts': mock.patch.dict(surrogate.PRIORS, r=nothing),
        'no-own-future': mock.patch.dict(surrogate.PRIORS, s_c=nothing),
        'no-trend': mock.patch.dict(surrogate.PRIORS, s_m=nothing),
        'rank-alone': mock.patch.object(normaliser.Normaliser, '__call__', rank),
        'asinh-alone': mock.patch.object(normaliser.Normaliser, '__call__', asinh),
        'one-at-first': mock.patch.object(dyhpo, 'FIRST', 1),
        'last-epoch': mock.patch.object(dyhpo, 'draw_horizon', lambda rng, max_epochs: (max_epochs, 0.0)),
        'random-start': mock.patch.object(space.Space, 'sobol_point', return_value=None),
        'no-start': mock.patch.object(dyhpo, 'START', 1),
        'no-turns': mock.patch.object(dyhpo, 'EVENLY', 10**9),
    }
    with left_out[tuner]:
        ours.race('dyhpo', problem, seed, training)
