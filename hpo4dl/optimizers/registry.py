"""The optimizers by name."""

from __future__ import annotations

from ..errors import ArgumentError
from ..space.unit_cube import Space
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


def check_optimizer(value: object) -> None:
    """Raises ArgumentError unless `value` is a known name or has the optimizer protocol."""
    methods = ('ask', 'tell', 'replay', 'is_alive')
    known = isinstance(value, str) and value in OPTIMIZERS
    if not known and (isinstance(value, (str, type)) or not all(callable(getattr(value, m, None)) for m in methods)):
        names = ', '.join(map(repr, OPTIMIZERS))
        raise ArgumentError('optimizer', value, f'{names}, or an object with {", ".join(methods)}')


def check_agrees(optimizer: BaseOptimizer, max_epochs: int, minimize: bool, space: Space) -> None:
    """Raises ArgumentError unless an optimizer of ours was made for this race, and has not begun another one."""
    theirs = (optimizer.minimize, optimizer.max_epochs, optimizer.space.names, optimizer.asks)
    ours = (minimize, max_epochs, space.names, 0)
    for what, given, accepted in zip(('minimize', 'max_epochs', 'hyperparameters', 'steps asked for'), theirs, ours):
        if given != accepted:
            agreeing = f'an object that agrees with the tuner, whose {what}: {accepted}; its own: {given}'
            raise ArgumentError('optimizer', optimizer, agreeing)
