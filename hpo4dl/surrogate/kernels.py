"""Kernels, written once for torch, which fits them, and NumPy, which predicts with them.

    d2    (n, m)  squared distances, divided by the squared length scale
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = TypeVar('Matrix', Tensor, NDArray[np.float64])


def squared_distance(a: Matrix, b: Matrix) -> Matrix:
    """(n, m) squared Euclidean distances between the rows of (n, p) and (m, p), never negative."""
    cross: Matrix = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return cross.clip(min=0.0)


def exponential(x: Matrix) -> Matrix:
    """e^x"""
    return _library(x).exp(x)  # type: ignore[no-any-return]


def diagonal(x: Matrix) -> Matrix:
    """(n, n) the matrix with x (n,) on its diagonal, and 0 elsewhere."""
    return _library(x).diag(x)  # type: ignore[no-any-return]


def at_pairs(K: Matrix, rows: Any, columns: Any) -> Matrix:
    """(n, m) the entries of K in these rows (n,) and columns (m,)."""
    if isinstance(K, Tensor) and K.device.type == 'cpu':
        # Its gradient takes a third of the time that indexing's takes; on a GPU it sums in an order that is not fixed.
        return K.index_select(0, rows).T.index_select(0, columns).T
    found: Matrix = K[rows][:, columns]
    return found


def rbf(d2: Matrix) -> Matrix:
    """exp(-d^2 / 2) (Rasmussen & Williams 2006, Equation 4.9)."""
    return exponential(-0.5 * d2)


def matern32(d2: Matrix) -> Matrix:
    """(1 + sqrt 3 d) exp(-sqrt 3 d) (Rasmussen & Williams 2006, Equation 4.17)."""
    d = _root(3 * d2)
    return (1 + d) * exponential(-d)


def matern52(d2: Matrix) -> Matrix:
    """(1 + sqrt 5 d + 5 d^2 / 3) exp(-sqrt 5 d) (Rasmussen & Williams 2006, Equation 4.17)."""
    d = _root(5 * d2)
    return (1 + d + d * d / 3) * exponential(-d)


def _library(array: Tensor | NDArray[np.float64]) -> Any:
    return torch if isinstance(array, Tensor) else np


def _root(d2: Matrix) -> Matrix:
    """A square root that has a gradient at 0 too."""
    return _library(d2).sqrt(d2 + 1e-12)  # type: ignore[no-any-return]
