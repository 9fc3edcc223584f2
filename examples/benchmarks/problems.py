"""The problems that tuners are compared on: curves that are known, so that an epoch costs nothing.

lcbench-TASK    the LCBench surrogate of YAHPO Gym (Pfisterer et al. 2022, Zimmer et al. 2021), 52 epochs
taskset-TABLE   a table of TaskSet (Metz et al. 2020) as DyHPO ships it, 51 epochs of 1000 configurations
table-NAME      recorded trainings of large networks (Lourie et al. 2024), each with a schedule of its own length
real-NAME       recorded trainings of small networks on real data, over a mixed and conditional space
synthetic-N     made-up curves that need no data, 50 epochs
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tabular
from ConfigSpace import ConfigurationSpace, Float, Integer

LCBENCH = {
    'lcbench-easy': [3945, 7593, 34539, 126025, 126026, 126029, 146212, 167104, 167149, 167152, 167161, 167168],
    'lcbench-hard': [167184, 167200, 168330, 168908, 189354, 189866, 189873, 189906],
}
"""The tasks to develop on; the others are for checking."""
OF_TABLES = {'taskset': 'taskset', 'tables': 'table', 'real': 'real'}
"""Suites that are a folder of tables, and the kind of their problems: how names begin."""

Curve = Callable[[Mapping[str, Any]], np.ndarray]
"""From a configuration to a value for each of the epochs 1, ..., max_epochs."""


@dataclass
class Problem:
    """Curves over a space, and the two values that normalize regret."""

    name: str
    space: ConfigurationSpace
    max_epochs: int
    minimize: bool
    curve: Curve
    best: float
    worst: float
    candidates: list[dict[str, Any]] | None = None
    cost: Curve | None = None
    """What each epoch costs: seconds, or whatever the benchmark counts; None where it does not say."""
    full_cost: float = np.nan
    """The mean cost of training a configuration to the end."""
    test: Curve | None = None
    """An independent metric of the same network; None where there is none."""
    test_best: float = np.nan
    test_worst: float = np.nan

    def regret(self, values: np.ndarray) -> np.ndarray:
        """Normalized regret of the best seen so far: 0 is the best reachable, 1 the worst; a NaN is no value."""
        sign = -1.0 if self.minimize else 1.0
        return normalized(sign * np.fmax.accumulate(sign * np.asarray(values, dtype=float)), self.best, self.worst)

    def test_regret(self, values: np.ndarray, tests: np.ndarray) -> np.ndarray:
        """Normalized regret, by the independent metric, of the trial and epoch whose value is the best so far."""
        ranked = np.nan_to_num((-1.0 if self.minimize else 1.0) * np.asarray(values, dtype=float), nan=-np.inf)
        before = np.concatenate([[-np.inf], np.maximum.accumulate(ranked)[:-1]])
        incumbent = np.maximum.accumulate(np.where(ranked > before, np.arange(len(ranked)), -1))
        tests = np.where(incumbent < 0, np.nan, np.asarray(tests, dtype=float)[incumbent])
        return normalized(tests, self.test_best, self.test_worst)


def normalized(values: np.ndarray, best: float, worst: float) -> np.ndarray:
    """(best - values) / (best - worst), at most 1; 1 where there is no value."""
    regret = (best - values) / (best - worst)
    return np.where(np.isnan(regret), 1.0, np.minimum(regret, 1.0))


def suites(data: Path | None) -> dict[str, list[str]]:
    """The development problems that `data` has, by suite; the synthetic ones without it."""
    if data is None:
        return {'synthetic': [f'synthetic-{i}' for i in range(6)]}
    found = {suite: [f'lcbench-{task}' for task in tasks] for suite, tasks in LCBENCH.items()}
    if not (data / 'lcbench').is_dir():
        found = {}
    for suite, kind in OF_TABLES.items():
        found[suite] = [f'{kind}-{file.stem}' for file in sorted((data / suite).glob('*.npz'))]
    return {suite: problems for suite, problems in found.items() if problems}


def suite_of(name: str) -> str:
    """The suite that a problem is reported with: for those that are in none, how their names begin."""
    kind, _, which = name.partition('-')
    of_kind = {kind: suite for suite, kind in OF_TABLES.items()}
    tasks = {str(task): suite for suite, tasks in LCBENCH.items() for task in tasks}
    return tasks.get(which, kind) if kind == 'lcbench' else of_kind.get(kind, kind)


def names(data: Path | None) -> list[str]:
    """The development problems that `data` has, or the synthetic ones without it."""
    return [name for suite in suites(data).values() for name in suite]


@functools.lru_cache(maxsize=1)  # the tuners of a problem are raced one after another
def load(name: str, data: Path | None = None) -> Problem:
    """The problem of that name; `data` is the folder with `lcbench/`, `taskset/`, `tables/` and `real/`."""
    kind, _, which = name.partition('-')
    if kind == 'synthetic':
        return synthetic(int(which))
    if data is None:
        raise SystemExit(f'{name} needs its data: --data FOLDER')
    if kind == 'lcbench':
        return lcbench(data / 'lcbench', which)
    return table(name, tabular.read(data / suite_of(name) / f'{which}.npz'))


def table(name: str, rows: tabular.Table) -> Problem:
    """A table as a problem: its rows are the candidates, 1 is the median last value, 0 the best of the table."""
    best = np.nanmin if rows.minimize else np.nanmax
    row = {tabular.key(rows.space, candidate): i for i, candidate in enumerate(rows.configurations)}

    def curve(of: np.ndarray | None) -> Any:
        return None if of is None else lambda configuration: of[row[tabular.key(rows.space, configuration)]]

    def ends(of: np.ndarray | None) -> tuple[float, float]:
        """Best and worst."""
        finite = np.full((1, 1), np.nan) if of is None else np.where(np.isfinite(of), of, np.nan)
        return (np.nan, np.nan) if of is None else (float(best(finite)), float(np.nanmedian(finite[:, -1])))

    return Problem(
        name, rows.space, rows.metric.shape[1], rows.minimize, curve(rows.metric), *ends(rows.metric),
        rows.configurations, curve(rows.cost), np.nan if rows.cost is None else float(rows.cost.sum(axis=1).mean()),
        curve(rows.test), *ends(rows.test),
    )  # fmt: skip


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
        """(n, 52) seconds that each epoch takes, and (n, 52) accuracies."""
        epochs = np.tile(np.arange(1, 53), len(x))
        inputs = np.column_stack([epochs, np.repeat(x, 52, axis=0)]).astype(np.float32)
        codes = np.full((len(inputs), 1), code, dtype=np.int32)
        since, accuracy = session.run(None, {'x_cat': codes, 'x_cont': inputs})[0][:, :2].T.astype(float)
        # Here and there a later epoch is predicted to end earlier: it takes no time then.
        seconds = np.diff(np.maximum.accumulate(since.reshape(len(x), 52), axis=1), prepend=0.0)
        return seconds, np.clip(accuracy, 0, 100).reshape(len(x), 52) / 100

    @functools.cache
    def one(x: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        seconds, accuracy = outputs(np.array([x]))
        return seconds[0], accuracy[0]

    unit = np.random.default_rng(12345).random((3000, len(order)))
    columns = []
    for u, name in zip(unit.T, order):
        low, high = by_name[name]['lower'], by_name[name]['upper']
        value = np.exp(np.log(low) + u * np.log(high / low)) if by_name[name]['log'] else low + u * (high - low)
        columns.append(np.round(value) if by_name[name]['type'] == 'uniform_int' else value)
    x = np.column_stack(columns)
    parts = [outputs(x[i : i + 10]) for i in range(0, len(x), 10)]  # all at once: 2.5 GB, 90 s
    seconds, sampled = (np.concatenate(column) for column in zip(*parts))
    both = lambda configuration: one(tuple(configuration[name] for name in order))  # noqa: E731
    return Problem(
        f'lcbench-{task}', space, 52, False, lambda configuration: both(configuration)[1],
        float(sampled.max()), float(sampled.min()),
        cost=lambda configuration: both(configuration)[0], full_cost=float(seconds.sum(axis=1).mean()),
    )  # fmt: skip


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
    cost = lambda configuration: np.full(50, 2 + 16 * configuration['x5'])  # noqa: E731
    best, worst = float(sampled.max()), float(sampled.min())
    return Problem(f'synthetic-{seed}', space, 50, False, curve, best, worst, cost=cost, full_cost=500.0)
