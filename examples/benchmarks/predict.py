"""The surrogate alone: how well it predicts learning curves, seen in part or not at all, and how calibrated it is.

    python examples/benchmarks/predict.py [--data FOLDER] [--suites tables real] [--observations 1000]

Random configurations are trained to random epochs until there are so many observations. Then every value that is still
to come on these curves is predicted, and so are whole curves of as many configurations that were never trained. Metrics
are scaled to [0, 1], by the range of random curves. The table has the mean log-likelihood and squared error of these
values (as in Table 1 of Rakotoarison et al. 2024), and the share of them that the central 50% and 90% intervals hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import problems
from compare import chosen
from scipy.special import stdtr, stdtrit

from hpo4dl import DyHPO, Trial

STEP = 1e-3
"""A value's likelihood is the probability of the interval that ends so far to both sides, over its width."""
LEAST = -20.0
"""Lower bound of the log-likelihood of one value."""


class Predicted(NamedTuple):
    """(n,) each."""

    log_likelihood: np.ndarray
    squared_error: np.ndarray
    in_50: np.ndarray
    in_90: np.ndarray

    def row(self) -> str:
        ll, mse, in_50, in_90 = (float(np.mean(column)) for column in self)
        return f'{ll:.2f} | {mse:.4f} | {in_50:.0%} | {in_90:.0%}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with lcbench/, taskset/...; default: synthetic problems')
    parser.add_argument('--suites', nargs='+', help='default: all')
    parser.add_argument('--problems', nargs='+', help='names, or beginnings of names')
    parser.add_argument('--observations', type=int, default=1000)
    parser.add_argument('--seeds', type=int, default=1)
    options = parser.parse_args()
    columns = 'log-likelihood | squared error | in 50% | in 90%'
    print(f'| problem | rest of curves: {columns} | unseen: {columns} |\n|---|---|---|---|---|---|---|---|---|')
    suites: dict[str, list[tuple[Predicted, Predicted]]] = {}
    for name in chosen(options.suites, options.problems, options.data):
        found = [predict(problems.load(name, options.data), options.observations, s) for s in range(options.seeds)]
        suites.setdefault(problems.suite_of(name), []).extend(found)
        report(name, found)
    for suite, found in suites.items():
        report(f'all of {suite}', found)


def report(name: str, found: list[tuple[Predicted, Predicted]]) -> None:
    print(f'| {name} | {" | ".join(pooled(list(parts)).row() for parts in zip(*found))} |', flush=True)


def predict(problem: problems.Problem, observations: int, seed: int) -> tuple[Predicted, Predicted]:
    """The rest of the curves that were seen in part, and the curves of unseen configurations."""
    rng = np.random.default_rng(seed)
    space, last = problem.space, problem.max_epochs
    optimizer = DyHPO(space, last, minimize=problem.minimize, seed=seed, candidates=problem.candidates)
    unit = to_unit(problem, optimizer.space, rng)
    tried: set[bytes] = set()
    points = [optimizer.space.draw(rng, tried)]
    spent, rest, new = 0, [], []
    while spent < observations:
        epoch = min(int(rng.integers(1, last + 1)), observations - spent)
        trial = Trial(len(points) - 1, optimizer.space.from_unit(points[-1]), 0, epoch)
        optimizer.replay(trial)
        optimizer.tell(trial, unit(trial.configuration)[: trial.epoch].tolist())
        spent += trial.epoch
        tried.add(points[-1].tobytes())
        points.append(optimizer.space.draw(rng, tried))
    for curve in optimizer.curves.values():
        if optimizer.is_alive(curve.trial_id):
            rest.append(scored(optimizer, curve, unit(curve.configuration), curve.epoch + 1))
    for _ in range(len(optimizer.curves)):
        tried.add(points[-1].tobytes())
        points.append(optimizer.space.draw(rng, tried))
        new.append(scored(optimizer, points[-1], unit(optimizer.space.from_unit(points[-1])), 1))
    return pooled(rest), pooled(new)


def scored(optimizer: DyHPO, trial: Any, values: np.ndarray, first: int) -> Predicted:
    """Score the predictions of a trial's values from epoch `first` on; values that are not finite are left out."""
    epochs = [epoch for epoch in range(first, len(values) + 1) if np.isfinite(values[epoch - 1])]
    y = values[np.array(epochs, dtype=int) - 1]
    if not epochs:
        return Predicted(y, y, y, y)
    mean, scale = optimizer.predict(trial, epochs)
    targets = (optimizer.transform(optimizer.signed(y + step)) for step in (-STEP, 0, STEP))
    low, z, high = ((target - mean) / scale for target in targets)
    low, high = np.minimum(low, high), np.maximum(low, high)  # losses have targets that fall
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)  # where the tail is exact
    t_dof = optimizer.policy.surrogate.t_dof
    with np.errstate(divide='ignore'):
        likelihood = np.log((stdtr(t_dof, high) - stdtr(t_dof, low)) / (2 * STEP))
    error = optimizer.metrics_of(mean) - y
    in_50, in_90 = (abs(z) < stdtrit(t_dof, level) for level in (0.75, 0.95))
    return Predicted(np.maximum(likelihood, LEAST), error**2, in_50, in_90)


def pooled(parts: list[Predicted]) -> Predicted:
    return Predicted(*(np.concatenate(column) for column in zip(*parts)))


def to_unit(problem: problems.Problem, space: Any, rng: np.random.Generator) -> Callable[[Any], np.ndarray]:
    """Curves scaled to [0, 1] by the best and worst value of 300 random curves (worst loss: the median first one)."""
    curves = np.array([problem.curve(space.from_unit(point)) for point in space.sample(rng, 300)])
    finite = np.where(np.isfinite(curves), curves, np.nan)
    if problem.minimize:
        worst, best = np.nanmedian(finite[:, 0]), np.nanmin(finite)
    else:
        worst, best = np.nanmin(finite), np.nanmax(finite)

    def unit(configuration: Any) -> np.ndarray:
        share = np.clip((problem.curve(configuration) - worst) / (best - worst), 0, 1)
        return 1 - share if problem.minimize else share

    return unit


if __name__ == '__main__':
    main()
