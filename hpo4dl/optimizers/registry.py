"""The optimizers by name, and what the tuner needs of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ConfigSpace import ConfigurationSpace

from ..errors import ArgumentError
from ..records.run_folder import Settings
from ..space.unit_cube import Space
from ..trial import Trial
from .base import BaseOptimizer
from .dyhpo import DyHPO
from .hyperband import ASHA, Hyperband
from .random_search import RandomSearch

OPTIMIZERS: dict[str, type[BaseOptimizer]] = {
    'dyhpo': DyHPO,
    'hyperband': Hyperband,
    'asha': ASHA,
    'random': RandomSearch,
}


class Optimizer(Protocol):
    """What the tuner needs of an optimizer. `DyHPO`, `Hyperband`, `ASHA` and `RandomSearch` have it.

    One that has `checkpoint_priority(trial_id) -> float` beside it says whose checkpoints stay longest under
    `max_disk`; otherwise the best metric of each trial does.
    """

    def ask(self) -> Trial | None:
        """The next step to train; None: nothing is left."""

    def tell(self, trial: Trial, metrics: Mapping[int, float] | None = None, failed: str | None = None) -> None:
        """What became of it: the user's metrics by epoch, and why the trial cannot go on, if it cannot."""

    def replay(self, trial: Trial) -> None:
        """On resume, in the place of `ask`: take note that this step was decided on."""

    def is_alive(self, trial_id: int) -> bool:
        """Whether the trial may be asked for again, so that its checkpoint is needed."""


def check_optimizer(value: object) -> None:
    """Raises ArgumentError unless `value` is a known name or has the optimizer protocol."""
    methods = ('ask', 'tell', 'replay', 'is_alive')
    known = isinstance(value, str) and value in OPTIMIZERS
    if not known and (isinstance(value, (str, type)) or not all(callable(getattr(value, m, None)) for m in methods)):
        names = ', '.join(map(repr, OPTIMIZERS))
        raise ArgumentError('optimizer', value, f'{names}, or an object with {", ".join(methods)}')


def check_agrees(optimizer: BaseOptimizer, settings: Settings, space: Space) -> None:
    """Raises ArgumentError unless an optimizer of ours was made for this race, and has not begun another one."""
    theirs = (optimizer.minimize, optimizer.max_epochs, optimizer.space.names, optimizer.asks)
    ours = (settings.minimize, settings.max_epochs, space.names, 0)
    for what, given, accepted in zip(('minimize', 'max_epochs', 'hyperparameters', 'steps asked for'), theirs, ours):
        if given != accepted:
            agreeing = f'an object that agrees with the tuner, whose {what}: {accepted}; its own: {given}'
            raise ArgumentError('optimizer', optimizer, agreeing)


def build(settings: Settings, configuration_space: ConfigurationSpace) -> Optimizer:
    """The optimizer that the settings name."""
    space = Space(configuration_space)
    special: dict[str, Any] = {}
    if settings.optimizer == 'dyhpo':
        special = {'num_configurations': settings.num_configurations, 'device': settings.device}
    if settings.optimizer == 'hyperband' and settings.max_budget is settings.time_limit is settings.target is None:
        special = {'rounds': 1}
    return OPTIMIZERS[str(settings.optimizer)](
        configuration_space,
        settings.max_epochs,
        minimize=settings.minimize,
        seed=settings.seed,
        initial_configurations=[space.restore(c) for c in settings.initial_configurations],
        candidates=settings.candidates and [space.restore(c) for c in settings.candidates],
        **special,
    )
