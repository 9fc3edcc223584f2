"""Our DyHPO with one part of it left out, by its `Policy`: what each part contributes."""

from __future__ import annotations

from typing import Any

from peers import ours

REQUIREMENTS: list[str] = []

NOTHING = (-30.0, 1e-3)
"""A prior that keeps a variance of the kernel at nothing."""
LEFT_OUT: dict[str, dict[str, Any]] = {
    'no-curves': {
        'surrogate': {
            **{'encoder': False, 's_d': NOTHING, 'l_x': (-0.5, 1.0), 'l_t': (0.1, 0.5), 'l_c': (-0.3, 0.5)},
            **{'s_m': (-3.2, 1.0), 's_x': (0.13, 0.5), 's_c': (-2.6, 1.0), 's_1': (-3.0, 1.5), 's_n': (-7.5, 1.5)},
            **{'r': (0.0, 1.0), 'mean': (-0.6, 0.7)},
        }
    },
    'no-learning-rates': {'surrogate': {'lr_curvature': 0.0, 'l_lr': (-1.27, 1.0), 'l_beside_lr': (-1.27, 1.0)}},
    'even-noise': {'surrogate': {'s_1': NOTHING}},
    'nothing-lasts': {'surrogate': {'r': NOTHING}},
    'no-own-future': {'surrogate': {'s_c': NOTHING}},
    'no-trend': {'surrogate': {'s_m': NOTHING}},
    'rank-alone': {'rank_weight': 1.0},
    'asinh-alone': {'rank_weight': 0.0},
    'one-at-first': {'initial_epochs': 1},
    'last-epoch': {'horizon_range': (1.0, 1.0), 'margin_range': (0.0, 0.0)},
    'random-start': {'sobol': False},
    'no-start': {'n_warmup': 1},
    'no-turns': {'sobol_every': 10**9},
}
"""Fields of the policy, and of its surrogate's, that are not the method's."""


def race(tuner: str, problem: Any, seed: int, training: Any) -> None:
    ours.race('dyhpo', problem, seed, training, policy=policy(tuner))


def policy(tuner: str) -> Any:
    """The policy of DyHPO without one part."""
    from hpo4dl.optimizers.policy import Policy, SurrogatePolicy

    fields = dict(LEFT_OUT[tuner])
    return Policy(surrogate=SurrogatePolicy(**fields.pop('surrogate', {})), **fields)
