"""Finitely many points: a list of candidates, or all points of a small space."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..trial import Array
from .conditions import Condition, deactivate
from .transforms import Choices, UnitTransform

MAX_ENUMERATED = 10_000
"""Spaces of at most that many points are enumerated."""
MAX_NUMBERS = 2**20
"""Features that are held at a time."""


@dataclass(frozen=True)
class PointSet:
    """Points (m, d), all different, what makes features of some, and probabilities (m,); None: all the same."""

    points: Array
    features: Callable[[Array], Array]
    probability: Array | None

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Return at most n different points."""
        m = len(self.points)
        return self.points[rng.choice(m, min(n, m), replace=False, p=self.probability)] if m else self.points

    @cached_property
    def _keys(self) -> list[bytes]:
        return [point.tobytes() for point in self.points]

    def draw(self, rng: np.random.Generator, tried: Container[bytes]) -> Array | None:
        """Return (d,) a random point whose bytes are not in `tried`; None if all are."""
        left = [i for i, key in enumerate(self._keys) if key not in tried]
        weights = None if self.probability is None else self.probability[left] / self.probability[left].sum()
        return np.array(self.points[rng.choice(left, p=weights)]) if left else None

    def nearest(self, features: Array, tried: Container[bytes], n: int) -> Array:
        """Return at most n points not in `tried`, those nearest to any of `features` (k, n_features) first."""
        distance = np.concatenate([self._squared_distance(block, features) for block in self._blocks()])
        order = [i for i in np.argsort(distance, kind='stable') if self._keys[i] not in tried]
        return self.points[order[:n]]

    @staticmethod
    def _squared_distance(block: Array, features: Array) -> Array:
        """Return (n,) those of the features of a block to the nearest of `features`."""
        return np.asarray(np.min([np.sum((block - own) ** 2, axis=1) for own in features], axis=0))

    def _blocks(self) -> Iterator[Array]:
        """Yield the features of all points, some at a time where they are many: one of 10,000 choices has a GB."""
        n = len(self._first_block)
        yield self._first_block
        for first in range(n, len(self.points), n):
            yield self.features(self.points[first : first + n])

    @cached_property
    def _first_block(self) -> Array:
        n_features = self.features(self.points[:1]).shape[1]
        return self.features(self.points[: max(1, MAX_NUMBERS // max(1, n_features))])


def enumerate_points(transforms: Sequence[UnitTransform], conditions: Mapping[int, Condition]) -> tuple[Array, Array]:
    """Return (m, d) all points, forbidden ones among them, and (m,) their probabilities; no point if too many."""
    choices = [transform for transform in transforms if isinstance(transform, Choices)]
    sizes = [len(choice.possible) for choice in choices]
    if len(choices) < len(transforms) or math.prod(sizes) > MAX_ENUMERATED:
        return np.empty((0, len(transforms))), np.empty(0)
    index = [choice.possible[i] for choice, i in zip(choices, np.indices(sizes).reshape(len(sizes), -1))]
    weights = np.prod([choice.probability[i] for choice, i in zip(choices, index)], axis=0)
    grid = deactivate(np.stack([choice.centers[i] for choice, i in zip(choices, index)], axis=1), conditions)
    points, which = np.unique(np.nan_to_num(grid, nan=-1.0), axis=0, return_inverse=True)
    points[points < 0] = np.nan
    return points, np.bincount(which.ravel(), weights).astype(float)
