"""Which hyperparameters are learning rates: the one thing that is known of a space of deep networks before the race.

On most development problems the ends of a learning rate's range are bad; of no other hyperparameter is the like true
everywhere. `SurrogatePolicy.lr_curvature` tells the surrogate. A learning rate is a number on a log scale whose
name has the word `lr`, or `learning` and `rate`, as `base_lr` and `sgd:learning_rate` do, and no word of `NOT`.
"""

from __future__ import annotations

import re

import numpy as np

from ..space.distributions import Log
from ..space.transforms import Number
from ..space.unit_cube import Space

NOT = {'decay', 'drop', 'end', 'factor', 'final', 'gamma', 'min', 'mult', 'multiplier', 'ratio', 'scale', 'warmup'}


def learning_rates(space: Space) -> dict[int, float]:
    """Return the columns of `space.features` that are learning rates, each with its default's coordinate."""
    logs = {n: t for n, t in space.transforms.items() if isinstance(t, Number) and isinstance(t.distribution, Log)}
    points = {n: t.cdf(np.array(space.default[n])) if n in space.default else 0.5 for n, t in logs.items()}
    return {space.columns[name]: float(u) for name, u in points.items() if is_learning_rate(name)}


def is_learning_rate(name: str) -> bool:
    """Return whether a hyperparameter's name says that it is a learning rate."""
    words = [word.lower() for word in re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+', name)]
    return bool({'lr', 'learningrate'} & {*words, *map(''.join, zip(words, words[1:]))}) and not NOT & {*words}
