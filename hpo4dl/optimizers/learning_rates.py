"""Which hyperparameters are learning rates: the one thing that is known of a space of deep networks before the race.

On all development problems a learning rate matters most, and the ends of its range are rarely good. The surrogate's
priors say so (`SurrogatePolicy`). A learning rate is a number on a log scale whose name has the word `lr`, or the words
`learning` and `rate`, as `base_lr`, `lrBackbone` and `optimizer:learning_rate` do, and none of `NOT`.
"""

from __future__ import annotations

import re

import numpy as np

from ..space.distributions import Log
from ..space.transforms import Number
from ..space.unit_cube import Space

NOT = {'decay', 'drop', 'end', 'factor', 'final', 'gamma', 'min', 'mult', 'multiplier', 'ratio', 'scale', 'warmup'}
"""Words of what only changes a learning rate."""


def learning_rates(space: Space) -> dict[int, float]:
    """Return the columns of `space.features` that are learning rates, each with the coordinate of its default.

    It is 0.5 where there is none: of a learning rate that is inactive by default.
    """
    found = {}
    for name, transform in space.transforms.items():
        if isinstance(transform, Number) and isinstance(transform.distribution, Log) and is_learning_rate(name):
            default = space.default.get(name)
            found[space.columns[name]] = 0.5 if default is None else float(transform.cdf(np.array(default)))
    return found


def is_learning_rate(name: str) -> bool:
    """Return whether a hyperparameter's name says that it is a learning rate."""
    words = [word.lower() for word in re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+', name)]
    return bool({'lr', 'learningrate'} & {*words, *map(''.join, zip(words, words[1:]))}) and not NOT & {*words}
