"""The problems that tuners are compared on: curves that are known, so that an epoch costs nothing.

lcbench-TASK    the LCBench surrogate of YAHPO Gym (Pfisterer et al. 2022, Zimmer et al. 2021), 52 epochs
taskset-TABLE   a table of TaskSet (Metz et al. 2020) as DyHPO ships it, 51 epochs of 1000 configurations
synthetic-N     made-up curves that need no data, 50 epochs
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer

LCBENCH = [3945, 7593, 34539, 126025, 126026, 126029, 146212, 167104, 167149, 167152, 167161, 167168]
"""The tasks to develop on; the others are for checking."""


@dataclass
class Problem:
    """Curves over a space, and the two values that normalize regret."""

    name: str
    space: ConfigurationSpace
    max_epochs: int
    minimize: bool
    curve: Callable[[Mapping[str, Any]], np.ndarray]
    """From a configuration to its values at epochs 1, ..., max_epochs."""
    best: float
    worst: float
    candidates: list[dict[str, Any]] | None = None
    seconds: Callable[[Mapping[str, Any]], np.ndarray] | None = None
    """From a configuration to the seconds that each of its epochs takes; None where the benchmark does not say."""

    def regret(self, values: np.ndarray) -> np.ndarray:
        """Normalized regret of the best seen so far: 0 is the best reachable, 1 the worst; a NaN is no value."""
        sign = -1.0 if self.minimize else 1.0
        seen = np.fmax.accumulate(sign * np.asarray(values, dtype=float))
        regret = (sign * self.best - seen) / (sign * (self.best - self.worst))
        return np.where(np.isnan(regret), 1.0, np.minimum(regret, 1.0))


def names(data: Path | None) -> list[str]:
    """The development problems that `data` has, or the synthetic ones without it."""
    if data is None:
        return [f'synthetic-{i}' for i in range(6)]
    return [f'lcbench-{task}' for task in LCBENCH] + [f'taskset-{f.stem}' for f in sorted(data.glob('taskset/*.npz'))]


def load(name: str, data: Path | None = None) -> Problem:
    """The problem of that name; `data` is the folder with `lcbench/` and `taskset/`."""
    kind, _, which = name.partition('-')
    if kind == 'synthetic':
        return synthetic(int(which))
    if data is None:
        raise SystemExit(f'{name} needs its data: --data FOLDER')
    return lcbench(data / 'lcbench', which) if kind == 'lcbench' else taskset(data / 'taskset' / f'{which}.npz')


def lcbench(folder: Path, task: str) -> Problem:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / 'model.onnx'), options)
    code = json.loads((folder / 'encoding.json').read_text())['OpenML_task_id'][task]
    order = ['batch_size', 'learning_rate', 'momentum', 'weight_decay', 'num_layers', 'max_units', 'max_dropout']
    space = ConfigurationSpace(name=f'lcbench-{task}')
    entries = json.loads((folder / 'config_space.json').read_text())['hyperparameters']
    by_name = {entry['name']: entry for entry in entries}
    for name in order:
        entry = by_name[name]
        of_type = Integer if entry['type'] == 'uniform_int' else Float
        space.add(of_type(name, (entry['lower'], entry['upper']), log=entry['log']))

    def outputs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 52) seconds since the start of training, as the surrogate has them, and (n, 52) accuracies."""
        epochs = np.tile(np.arange(1, 53), len(x))
        inputs = np.column_stack([epochs, np.repeat(x, 52, axis=0)]).astype(np.float32)
        codes = np.full((len(inputs), 1), code, dtype=np.int32)
        since, accuracy = session.run(None, {'x_cat': codes, 'x_cont': inputs})[0][:, :2].T.astype(float)
        return since.reshape(len(x), 52), np.clip(accuracy, 0, 100).reshape(len(x), 52) / 100

    @functools.cache
    def one(x: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        since, accuracy = outputs(np.array([x]))
        # Here and there a later epoch is predicted to end earlier: it takes no time then.
        return np.diff(np.maximum.accumulate(since[0]), prepend=0.0), accuracy[0]

    unit = np.random.default_rng(12345).random((3000, len(order)))
    columns = []
    for u, name in zip(unit.T, order):
        low, high = by_name[name]['lower'], by_name[name]['upper']
        value = np.exp(np.log(low) + u * np.log(high / low)) if by_name[name]['log'] else low + u * (high - low)
        columns.append(np.round(value) if by_name[name]['type'] == 'uniform_int' else value)
    x = np.column_stack(columns)
    sampled = np.concatenate([outputs(x[i : i + 10])[1] for i in range(0, len(x), 10)])  # all at once: 2.5 GB, 90 s
    both = lambda configuration: one(tuple(configuration[name] for name in order))  # noqa: E731
    curve, seconds = (lambda configuration: both(configuration)[1]), (lambda configuration: both(configuration)[0])
    best, worst = float(sampled.max()), float(sampled.min())
    return Problem(f'lcbench-{task}', space, 52, False, curve, best, worst, seconds=seconds)


def taskset(file: Path) -> Problem:
    table = np.load(file)
    loss, names = table['valid_loss'].astype(float), [str(name) for name in table['names']]
    candidates = [dict(zip(names, map(float, row))) for row in table['configurations']]
    space = ConfigurationSpace(name=file.stem)
    for name, column in zip(names, table['configurations'].T):
        low, high = float(column.min()), float(column.max())
        log = low > 0 and high / low > 100
        # A little wider, since ConfigSpace rounds bounds to 13 decimals.
        low, high = (low * 0.99, high * 1.01) if log else (low - 1e-9, high + 1e-9)
        space.add(Float(name, (low, high), log=log))
    row = {key(candidate.values()): i for i, candidate in enumerate(candidates)}
    finite = np.where(np.isfinite(loss), loss, np.nan)

    def curve(configuration: Mapping[str, Any]) -> np.ndarray:
        return loss[row[key(configuration[name] for name in names)]]

    best, worst = float(np.nanmin(finite)), float(np.nanmedian(finite[:, -1]))
    return Problem(f'taskset-{file.stem}', space, loss.shape[1], True, curve, best, worst, candidates)


def key(values: Iterable[float]) -> tuple[str, ...]:
    """What a row of a table is found by, though some tuners return its values rounded."""
    return tuple(f'{value:.9g}' for value in values)


def synthetic(seed: int) -> Problem:
    """Saturating curves whose end and speed depend smoothly on six hyperparameters, three of which matter."""
    rng = np.random.default_rng(seed)
    center, weight = rng.random(6), np.array([1.0, 0.6, 0.3, 0.03, 0.0, 0.0])
    space = ConfigurationSpace(name=f'synthetic-{seed}', space={f'x{i}': (0.0, 1.0) for i in range(6)})

    def curves(x: np.ndarray) -> np.ndarray:
        end = np.exp(-2 * ((x - center) ** 2 @ weight))
        rate = 0.2 + 2 * x[:, 1]
        epochs = np.arange(1, 51)
        noise = 0.01 * np.sin(1e4 * (x.sum(1)[:, None] + epochs))
        return end[:, None] * (1 - epochs ** -rate[:, None]) + noise

    sampled = curves(np.random.default_rng(12345).random((3000, 6)))
    curve = lambda configuration: curves(np.array([[configuration[f'x{i}'] for i in range(6)]]))[0]  # noqa: E731
    seconds = lambda configuration: np.full(50, 2 + 16 * configuration['x5'])  # noqa: E731
    best, worst = float(sampled.max()), float(sampled.min())
    return Problem(f'synthetic-{seed}', space, 50, False, curve, best, worst, seconds=seconds)
