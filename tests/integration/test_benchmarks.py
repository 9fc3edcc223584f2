"""The comparison of tuners: how epochs are counted, how regret and its table are made, and that it can be resumed."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float
from scipy.stats import t as student

from hpo4dl.optimizers.policy import Policy

BENCHMARKS = Path(__file__).parents[2] / 'examples' / 'benchmarks'


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType, ModuleType]:
    """(compare, peers, problems) as `python examples/benchmarks/compare.py` imports them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module('compare'), importlib.import_module('peers'), importlib.import_module('problems')


def numbered(problems: ModuleType, **fields: object) -> object:
    """A problem whose configuration x has the value 10 x + epoch."""
    given = {
        'name': 'hand-1',
        'space': ConfigurationSpace({'x': (0.0, 9.0)}),
        'max_epochs': 4,
        'minimize': False,
        'curve': lambda configuration: 10 * configuration['x'] + np.arange(1.0, 5.0),
        'best': 0.0,
        'worst': 1.0,
    }
    return problems.Problem(**{**given, **fields})


def test_regret_of_a_race_by_hand(modules: tuple[ModuleType, ...]) -> None:
    problem = numbered(modules[2], best=0.8, worst=0.3)
    accuracies = [np.nan, 0.1, 0.3, 0.5, 0.4, np.nan, 0.9]
    assert problem.regret(accuracies) == pytest.approx([1, 1, 1, 0.6, 0.6, 0.6, -0.2])


def test_regret_of_losses_by_hand(modules: tuple[ModuleType, ...]) -> None:
    problem = numbered(modules[2], best=2.0, worst=6.0, minimize=True)
    assert problem.regret([1e34, 5.0, np.nan, 7.0, 3.0]) == pytest.approx([1, 0.75, 0.75, 0.75, 0.25])


def test_only_newly_trained_epochs_are_paid(modules: tuple[ModuleType, ...]) -> None:
    _, peers, problems = modules
    training = peers.Training(numbered(problems), 7)
    assert list(training({'x': 1.0}, 2)) == [11, 12]
    assert list(training({'x': 2.0}, 1)) == [21]
    assert list(training({'x': 1.0}, 4)) == [11, 12, 13, 14]
    assert list(training({'x': 1.0}, 3)) == [11, 12, 13]
    assert list(training.losses({'x': 2.0}, 2)) == [-20, -21]
    assert training.values == [11, 12, 21, 13, 14, 22]
    with pytest.raises(peers.Spent):
        training({'x': 3.0}, 4)
    assert training.values == [11, 12, 21, 13, 14, 22, 31], 'the last training is cut to the budget'
    assert training.observations == [0, 2, 3, 5, 5, 6]
    assert np.isnan(training.seconds[0])
    assert min(training.seconds[1:]) >= 0


def test_time_between_trainings_is_overhead_and_trainings_are_not(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, peers, problems = modules
    now = [0.0]
    monkeypatch.setattr(peers.time, 'perf_counter', lambda: now[0])

    def slow(configuration: dict[str, float]) -> np.ndarray:
        now[0] += 0.2
        return np.zeros(4)

    training = peers.Training(numbered(problems, curve=slow), 100)
    training({'x': 1.0}, 1)
    now[0] += 0.05
    training({'x': 1.0}, 2)
    assert training.seconds[1] == pytest.approx(0.05)


def test_decisions_that_train_nothing_new_come_to_an_end(modules: tuple[ModuleType, ...]) -> None:
    _, peers, problems = modules
    training = peers.Training(numbered(problems), 5)

    def ask_for_ever() -> None:
        while True:
            training({'x': 1.0}, 4)

    with pytest.raises(peers.Spent):
        ask_for_ever()
    assert training.values == [11, 12, 13, 14]


def test_a_table_trains_the_nearest_row(modules: tuple[ModuleType, ...]) -> None:
    _, peers, problems = modules
    space = ConfigurationSpace({'rate': Float('rate', (1e-6, 1.0), log=True), 'x': (0.0, 100.0)})
    rows = [{'rate': 1e-6, 'x': 0.0}, {'rate': 1e-4, 'x': 50.0}, {'rate': 0.5, 'x': 50.0}]
    problem = numbered(problems, space=space, candidates=rows, curve=lambda c: np.full(4, rows.index(c)))
    training = peers.Training(problem, 100)
    assert training({'rate': 1e-3, 'x': 52.0}, 1) == [1], 'in logs, 1e-3 is nearer to 1e-4 than to 0.5'
    assert training({'rate': 0.03, 'x': 30.0}, 1) == [2]
    assert training({'rate': 2e-4, 'x': 51.0}, 4)[0] == 1
    assert training.values == [1, 2, 1, 1, 1], 'two configurations of one row share its training'


def test_costs_and_an_independent_metric_are_counted_with_epochs(modules: tuple[ModuleType, ...]) -> None:
    _, peers, problems = modules
    problem = numbered(
        problems,
        cost=lambda configuration: np.full(4, configuration['x']),
        full_cost=10.0,
        test=lambda configuration: -10 * configuration['x'] - np.arange(1.0, 5.0),
    )
    training = peers.Training(problem, 100, cost=0.9)
    training({'x': 1.0}, 3)
    training({'x': 2.0}, 1)
    training({'x': 1.0}, 3)
    assert training.costs == [0.1, 0.1, 0.1, 0.2]
    assert training.tests == [-11, -12, -13, -21]
    with pytest.raises(peers.Spent):
        training({'x': 2.0}, 4)
    assert training.costs == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2]
    assert len(training.values) == len(training.tests) == 7


def test_the_incumbent_is_scored_by_an_independent_metric(modules: tuple[ModuleType, ...]) -> None:
    problem = numbered(modules[2], test_best=1.0, test_worst=0.0)
    values = [np.nan, 0.1, 0.5, 0.5, np.nan, 0.4, 0.9]
    tests = [0.9, 0.2, 0.3, 0.8, 0.7, 0.6, np.nan]
    assert problem.test_regret(values, tests) == pytest.approx([1, 0.8, 0.7, 0.7, 0.7, 0.7, 1])
    losses = numbered(modules[2], minimize=True, test_best=1.0, test_worst=3.0)
    assert losses.test_regret([5.0, 4.0, 4.5], [2.0, 2.5, 1.0]) == pytest.approx([0.5, 0.75, 0.75])


@pytest.mark.parametrize('budget', ['7', 'cost0.75'])
def test_the_record_of_a_race(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget: str
) -> None:
    _, peers, problems = modules
    problem = numbered(
        problems, best=20.0, worst=10.0, cost=lambda _: np.full(4, 2.5), full_cost=10.0, test_best=1.0, test_worst=0.0,
        test=lambda _: np.full(4, 0.25),
    )  # fmt: skip
    monkeypatch.setattr(problems, 'load', lambda name, data: problem)

    def race(tuner: str, problem: object, seed: int, training: object) -> None:
        training({'x': 1.0}, 2)
        if budget == '7':
            return  # comes to an end by itself
        training({'x': 2.0}, 4)

    monkeypatch.setitem(sys.modules, 'peers.ours', SimpleNamespace(race=race))
    peers.run('random', 'hand-1', 0, budget, tmp_path / 'a.json', None)
    record = json.loads((tmp_path / 'a.json').read_text())
    if budget == '7':
        assert record['regret'] == pytest.approx([0.9, 0.8])
        assert record['cost'] == [0.25, 0.5]
        assert record['test'] == [0.75, 0.75]
        assert record['ended']
    else:
        assert record['values'] == [11, 12, 21, 22, 23, 24]
        assert not record['ended']
        assert record['cost'][-1] == 1.5, 'the last training is not cut: what it costs beyond is not looked at'
        assert record['regret'] == pytest.approx([0.9, 0.8, -0.1, -0.2, -0.3, -0.4])


def test_a_race_of_a_given_cost_wants_costs(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, peers, problems = modules
    monkeypatch.setattr(problems, 'load', lambda name, data: numbered(problems))
    with pytest.raises(ValueError, match='cost'):
        peers.run('random', 'hand-1', 0, 'cost2', tmp_path / 'a.json', None)


@pytest.fixture
def tabular(modules: tuple[ModuleType, ...]) -> ModuleType:
    return importlib.import_module('tabular')


MIXED = [
    {'name': 'rate', 'kind': 'float', 'low': 1e-4, 'high': 1.0, 'log': True},
    {'name': 'kind', 'kind': 'categorical', 'values': ['a', 'b', 'c']},
    {'name': 'share', 'kind': 'float', 'low': 0.0, 'high': 1.0, 'if': {'kind': ['a', 'b']}},
    {'name': 'size', 'kind': 'ordinal', 'values': [16, 32, 64]},
    {'name': 'flag', 'kind': 'categorical', 'values': [False, True]},
]


def test_a_table_becomes_a_problem(modules: tuple[ModuleType, ...], tmp_path: Path) -> None:
    rows = [
        {'rate': 0.01, 'kind': 'c', 'size': 16, 'flag': True},
        {'rate': 1.0, 'kind': 'a', 'share': 0.25, 'size': 64, 'flag': False},
        {'rate': 0.5, 'kind': 'b', 'share': 0.125, 'size': 32, 'flag': True},
    ]
    metric = np.array([[0.1, 0.5], [0.2, np.nan], [0.3, 0.3]])
    cost = np.array([[1.0, 2.0], [3.0, np.nan], [4.0, 4.0]])
    (tmp_path / 'tables').mkdir()
    np.savez(
        tmp_path / 'tables' / 'x.npz', configurations=np.array([json.dumps(row) for row in rows]),
        space=json.dumps(MIXED), metric=metric.astype(np.float32), cost=cost, test=2 * metric,
    )  # fmt: skip
    problem = modules[2].load('table-x', tmp_path)
    assert problem.candidates == rows
    assert (problem.max_epochs, problem.minimize) == (2, False)
    assert problem.best == pytest.approx(0.5)
    assert problem.worst == pytest.approx(0.4), 'the median of the last values that there are'
    assert (problem.test_best, problem.test_worst) == (1.0, 0.8)
    assert problem.full_cost == pytest.approx((3 + 6 + 8) / 3), 'an epoch after divergence costs what its row does'
    assert list(problem.cost(rows[1])) == [3, 3]
    given_back = {'rate': np.float64(0.01), 'kind': np.str_('c'), 'size': np.int64(16), 'flag': np.bool_(True)}
    assert list(problem.test(given_back)) == [0.2, 1.0]
    assert problem.curve(rows[1]) == pytest.approx([0.2, np.nan], nan_ok=True)
    assert [hp.name for hp in problem.space.values() if hasattr(hp, 'log') and hp.log] == ['rate']


def test_a_table_of_small_networks_is_read(tabular: ModuleType, tmp_path: Path) -> None:
    common = {
        'activation': 'relu', 'batch_size': 64, 'dropout': 0.5, 'label_smoothing': 0.0, 'layers': 2, 'norm': 'none',
        'learning_rate': 0.1, 'weight_decay': 1e-5, 'width': 32,
    }  # fmt: skip
    rows = [
        {**common, 'optimizer': 'sgd', 'momentum': 0.9, 'nesterov': True, 'schedule': 'constant'},
        {**common, 'optimizer': 'adam', 'beta1': 0.9, 'schedule': 'step', 'step_factor': 0.5},
        {**common, 'optimizer': 'rmsprop', 'schedule': 'cosine'},
    ]
    seconds = np.array([[1.0, 3.0, np.nan], [1.0, 1.0, 1.0], [4.0, 5.0, 6.0]])
    loss = np.array([[0.1, np.nan, np.nan], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    accuracy = np.array([[0.5, 0.1, np.nan], [0.1, 0.2, 0.3], [0.2, 0.3, 0.4]])
    file = tmp_path / 'digits.npz'
    texts = np.array([json.dumps(row) for row in rows])
    np.savez(file, configurations=texts, valid_accuracy=accuracy, valid_loss=loss, test_accuracy=accuracy / 2,
             seconds=seconds)  # fmt: skip
    table = tabular.read(file)
    assert table.configurations == rows
    assert list(table.metric[0]) == pytest.approx([0.5, np.nan, np.nan], nan_ok=True), 'NaN from divergence on'
    assert list(table.cost[0]) == [1, 3, 2]
    assert list(table.test[1]) == [0.05, 0.1, 0.15]
    ours = importlib.import_module('hpo4dl').RandomSearch(table.space, 3, seed=0, candidates=rows)
    drawn = [ours.ask().configuration for _ in rows]
    assert {tabular.key(table.space, row) for row in drawn} == {tabular.key(table.space, row) for row in rows}


def test_a_table_of_taskset_is_read(modules: tuple[ModuleType, ...], tmp_path: Path) -> None:
    rows = np.array([[1e-4, 0.1], [1e-1, 0.2], [1e-2, 0.9]])
    loss = np.array([[3.0, 2.0], [5.0, np.inf], [4.0, 1.0]])
    (tmp_path / 'taskset').mkdir()
    np.savez(tmp_path / 'taskset' / 'x.npz', configurations=rows, names=['rate', 'beta'], valid_loss=loss,
             test_loss=loss + 1)  # fmt: skip
    problem = modules[2].load('taskset-x', tmp_path)
    assert problem.candidates[1] == {'rate': 0.1, 'beta': 0.2}
    assert (problem.minimize, problem.best, problem.worst, problem.test_best) == (True, 1.0, 1.5, 2.0)
    assert problem.space['rate'].log
    assert not problem.space['beta'].log
    assert problem.cost is None
    assert list(problem.curve({'rate': 0.1 + 1e-12, 'beta': 0.2})) == [5, np.inf], 'values may come back rounded'


def test_distances_in_a_mixed_space(tabular: ModuleType) -> None:
    space = tabular.space_of('x', MIXED)
    base = {'rate': 1e-2, 'kind': 'a', 'share': 0.5, 'size': 16, 'flag': True}
    for changed, distance in [
        ({'rate': 1e-4}, 0.5),
        ({'kind': 'b'}, 1.0),
        ({'kind': 'b', 'flag': False}, np.sqrt(2)),
        ({'size': 64}, 1.0),
        ({'size': 32}, 0.5),
        ({'share': 0.25}, 0.25),
        ({'kind': 'c', 'share': None}, 1.0),
    ]:
        other = {name: value for name, value in {**base, **changed}.items() if value is not None}
        apart = np.subtract(tabular.unit(space, base), tabular.unit(space, other))
        assert np.linalg.norm(apart) == pytest.approx(distance)


def test_a_hyperparameter_is_active_by_its_condition(tabular: ModuleType) -> None:
    space = tabular.space_of('x', MIXED)
    for kind, active in [('a', True), ('b', True), ('c', False)]:
        assert tabular.is_active(space, 'share', {'kind': kind}) == active
    assert tabular.is_active(space, 'rate', {})


def test_the_space_of_small_networks_has_conditions(tabular: ModuleType) -> None:
    space = tabular.space_of('x', tabular.REAL_SPACE)
    space.seed(0)
    names = [set(dict(configuration)) for configuration in space.sample_configuration(200)]
    assert {len(found) for found in names} == {11, 12, 13, 14}
    assert all(('momentum' in found) == ('nesterov' in found) for found in names)


@pytest.fixture
def standings(modules: tuple[ModuleType, ...]) -> ModuleType:
    return importlib.import_module('standings')


def level(regret: float, **fields: object) -> dict[str, object]:
    """The record of a race that is at 1 for 20 epochs and then at one regret for 5."""
    values = {'regret': [1.0] * 20 + [regret] * 5, 'ended': False}
    return {**values, 'seconds': [0.002, 0.004], 'observations': [1, 2], **fields}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip('| ').split('|')]


def test_the_table_by_hand(standings: ModuleType) -> None:
    races = [('hand-a', 0), ('hand-a', 1), ('hand-b', 0)]
    runs = {
        'dyhpo': {race: level(regret) for race, regret in zip(races, [0.1, 0.3, 0.6])},
        'asha': {race: level(regret) for race, regret in zip(races, [0.1, 0.3, 0.8])},
        'smac': {('hand-a', 1): level(0.2)},
    }
    # Problem means are 0.2 and 0.6 for dyhpo, 0.2 and 0.8 for asha: in all 0.4 and 0.5. The AUC is 0.8 + 0.2 of these.
    # Errors are over three races, since there are two problems: 0.252 and 0.361 are the deviations of the regrets.
    # Both races on the first problem are tied: ranks 1.5 and 1.5, then 1 and 2. SMAC finished one race only.
    assert standings.table(runs, standings.Axis(False, 25)).splitlines() == [
        '| suite | AUC of dyhpo | best peer | its AUC | paired difference | ahead beyond one error |',
        '|---|---|---|---|---|---|',
        '| hand, 3 races | 0.880 | asha | 0.900 | -0.020 ± 0.013 | nobody |',
        '| hand, 1 races | 0.860 | smac | 0.840 | +0.020 | nobody |',
        '',
        '### hand: 2 problems, 3 races',
        '',
        '| tuner | regret at 25 | AUC | mean ranks | ms a decision | s a race |',
        '|---|---|---|---|---|---|',
        '| dyhpo | **0.400** | **0.880** ± 0.029 | 1.2 | 3 | 0.006 |',
        '| asha | 0.500 | 0.900 ± 0.042 | 1.8 | 3 | 0.006 |',
        '',
        '| dyhpo less | at 25 | AUC |',
        '|---|---|---|',
        '| asha | -0.100 ± 0.067 | -0.020 ± 0.013 |',
        '',
        '### hand: 1 problems, 1 races',
        '',
        '| tuner | regret at 25 | AUC | mean ranks | ms a decision | s a race |',
        '|---|---|---|---|---|---|',
        '| dyhpo | 0.300 | 0.860 | 2.0 | 3 | 0.006 |',
        '| smac | **0.200** | **0.840** | 1.0 | 3 | 0.006 |',
        '',
        '| dyhpo less | at 25 | AUC |',
        '|---|---|---|',
        '| smac | +0.100 | +0.020 |',
        '',
    ]


def test_who_is_ahead_is_said(standings: ModuleType) -> None:
    runs = {
        'dyhpo': {('hand-a', seed): level(0.4) for seed in range(3)},
        'no-curves': {('hand-a', seed): level(0.01) for seed in range(3)},
        'asha': {('hand-a', seed): level(0.3 + seed / 100) for seed in range(3)},
        'smac': {('hand-a', seed): level(0.38 + 0.1 * (seed - 1)) for seed in range(3)},
    }
    line = standings.table(runs, standings.Axis(False, 25)).splitlines()[2]
    # SMAC is ahead by 0.02 ± 0.06 only; a part of DyHPO is no peer.
    assert cells(line) == ['hand, 3 races', '0.880', 'asha', '0.862', '+0.018 ± 0.001', 'asha at 25, AUC']


def test_errors_are_over_problems_where_there_are_some(standings: ModuleType) -> None:
    values = np.array([0.0, 0.2, 1.0, 2.0, 3.0])
    mean, error = standings.mean_and_error(values, ['a', 'a', 'b', 'c', 'd'])
    assert mean == pytest.approx(np.mean([0.1, 1, 2, 3]))
    assert error == pytest.approx(np.std([0.1, 1, 2, 3], ddof=1) / 2)
    mean, error = standings.mean_and_error(values, ['a', 'a', 'b', 'c', 'c'])
    assert mean == pytest.approx(np.mean([0.1, 1, 2.5]))
    assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_regret_over_cost_by_hand(standings: ModuleType) -> None:
    record = {'regret': [0.8, 0.5, 0.2], 'cost': [1.0, 1.5, 4.0], 'test': [0.9, 0.4, 0.3], 'ended': False}
    by_cost, by_epoch = standings.Axis(True, 4), standings.Axis(False, 3)
    assert list(by_cost.at(record, [0.9, 1.0, 1.4, 3.9, 4.0])) == [1.0, 0.8, 0.8, 0.5, 0.2]
    assert by_cost.auc(record) == pytest.approx((1 + 0.5 * 0.8 + 2.5 * 0.5) / 4, abs=1e-3)
    assert by_cost.auc(record, 'test') == pytest.approx((1 + 0.5 * 0.9 + 2.5 * 0.4) / 4, abs=1e-3)
    assert by_epoch.auc(record) == pytest.approx(0.5)
    assert by_cost.marks == [2, 4]
    assert np.isnan(by_cost.at(record, [4.1])[0]), 'the race did not come so far'
    ended = {**record, 'ended': True}
    assert by_cost.at(ended, [4.1])[0] == by_epoch.at(ended, [4])[0] == 0.2, 'it came to an end by itself'


def test_the_cost_to_what_another_has_at_8_trainings(standings: ModuleType) -> None:
    costs = np.linspace(0.4, 10.0, 25)
    runs = {
        'dyhpo': {('table-a', 0): {**level(0.5, cost=list(costs)), 'regret': list(1 - costs / 10)}},
        'asha': {('table-a', 0): {**level(0.5, cost=list(costs)), 'regret': list(1 - costs / 5)}},
        'smac': {('table-a', 0): {**level(0.5, cost=list(costs)), 'regret': [0.9] * 25}},
    }
    heads, _, *rows = [cells(line) for line in standings.table(runs, standings.Axis(True, 10)).splitlines()[6:11]]
    told = [row[heads.index('reaches what dyhpo has at 8 after')] for row in rows]
    assert told == ['8', '4', '-']


def test_costs_are_told_as_far_as_every_race_came(standings: ModuleType) -> None:
    costs = np.linspace(0.2, 5.0, 25)
    runs = {
        'dyhpo': {('hand-a', 0): level(0.5, cost=list(costs), test=[1.0] * 24 + [0.25])},
        'asha': {('hand-a', 0): level(0.4, cost=list(2 * costs), test=[1.0] * 24 + [0.75])},
    }
    told = standings.table(runs, standings.Axis(False, 25)).splitlines()
    heads = cells(told[6])
    row = dict(zip(heads, cells(told[8])))
    assert row['by test at 25'] == '**0.250**'
    assert row['AUC by test'] == '**0.970**'
    assert cells(told[11])[1:5] == ['regret after the cost of 2', '4', 'AUC', 'mean ranks']
    assert [cells(line)[1:4] for line in told[13:15]] == [['**1.000**'] * 3] * 2, 'lower from 4.2 and 8.4 on'


def test_the_picture_shows_the_tables(
    modules: tuple[ModuleType, ...], standings: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip('matplotlib')
    picture = importlib.import_module('picture')
    costs = list(np.linspace(0.2, 5.0, 25))
    runs = {
        'dyhpo': {('table-a', seed): level(0.5, cost=costs, test=[1.0] * 25) for seed in (0, 1)},
        'smac': {('table-a', seed): level(0.25, cost=costs, test=[1.0] * 25) for seed in (0, 1)},
        'asha': {('table-a', 0): level(0.1, cost=costs, test=[1.0] * 25)},
    }
    text = standings.table(runs, standings.Axis(False, 25))
    assert picture.rows(text, picture.Panel('### tables:', '')) == {'dyhpo': {25: 0.5}, 'smac': {25: 0.25}}
    by_cost = picture.rows(text, picture.Panel('### tables:', '', costs=True))
    assert by_cost == {'dyhpo': {2: 1.0, 4: 1.0}, 'smac': {2: 1.0, 4: 1.0}}
    assert picture.rows(text, picture.Panel('### real:', '')) == {}
    monkeypatch.setattr(picture, 'HERE', tmp_path)
    (tmp_path / 'RESULTS.md').write_text(text.replace('at 25 |', 'at 50 |'))
    picture.draw(picture.SUITES, tmp_path / 'a.png', columns=3)
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_tables_are_put_into_a_document(modules: tuple[ModuleType, ...], tmp_path: Path) -> None:
    compare, document = modules[0], tmp_path / 'results.md'
    document.write_text(f'before\n{compare.BEGIN}\nold\n{compare.END}\nafter\n')
    for _ in range(2):
        compare.put_into(document, '| new |\n')
        assert document.read_text() == f'before\n{compare.BEGIN}\n\n| new |\n{compare.END}\nafter\n'
    document.write_text('nothing')
    with pytest.raises(SystemExit):
        compare.put_into(document, '')


def test_suites_and_their_problems(modules: tuple[ModuleType, ...], tmp_path: Path) -> None:
    compare, _, problems = modules
    for file in ('lcbench/model.onnx', 'taskset/b.npz', 'taskset/a.npz', 'tables/c.npz', 'real/d.npz'):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    suites = problems.suites(tmp_path)
    assert list(suites) == ['lcbench-easy', 'lcbench-hard', 'taskset', 'tables', 'real']
    assert suites['taskset'] == ['taskset-a', 'taskset-b']
    assert len(suites['lcbench-easy']) == 12
    assert len(suites['lcbench-hard']) == 8
    assert all(problems.suite_of(name) == suite for suite, found in suites.items() for name in found)
    assert problems.suite_of('lcbench-3') == 'lcbench', 'a task that is kept back'
    assert compare.chosen(['real', 'tables'], None, tmp_path) == ['real-d', 'table-c']
    assert compare.chosen(None, ['taskset', 'lcbench-39'], tmp_path) == ['taskset-a', 'taskset-b', 'lcbench-3945']
    assert compare.chosen(None, ['lcbench-31'], tmp_path) == ['lcbench-31']
    assert len(compare.chosen(None, None, tmp_path)) == 24
    with pytest.raises(SystemExit, match='no such suite: unreal'):
        compare.chosen(['unreal'], None, tmp_path)


def test_a_peer_that_cannot_be_installed_is_skipped(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    compare = modules[0]

    def no_network(requirements: list[str], venv: Path) -> str:
        raise subprocess.CalledProcessError(1, 'pip', stderr='...\nERROR: no matching distribution\n')

    monkeypatch.setattr(compare, 'install', no_network)
    assert compare.interpreters(['random', 'syne-asha', 'syne-dyhpo'], tmp_path) == {'random': None}
    assert 'skipped syne-asha, syne-dyhpo' in capsys.readouterr().err


def test_every_peer_names_its_requirements_with_versions(modules: tuple[ModuleType, ...]) -> None:
    for module in set(modules[1].TUNERS.values()):
        peer = importlib.import_module(f'peers.{module}')
        assert callable(peer.race)
        words = [word for line in peer.REQUIREMENTS for word in line.split() if not word.startswith('--')]
        assert all('==' in word for word in words)
        assert bool(words) == (module not in ('ours', 'ablations'))


def test_an_interrupted_comparison_goes_on(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    compare = modules[0]
    output = tmp_path / 'out'
    words = f'--problems synthetic-0 --tuners random asha --seeds 3 --epochs 30 --workers 1 --output {output}'.split()
    runs = output / 'runs' / 'synthetic-0'

    command = [sys.executable, str(BENCHMARKS / 'compare.py'), *words]
    environment = {**os.environ, 'PYTHONPATH': str(BENCHMARKS.parents[1])}
    interrupted = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while not list(runs.glob('*.json')) and interrupted.poll() is None:
        time.sleep(0.001)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    before = {file: file.stat().st_mtime_ns for file in runs.glob('*.json')}
    assert 1 <= len(before) < 6
    assert not (output / 'table.md').exists()

    for library in ('OMP', 'OPENBLAS', 'MKL'):
        monkeypatch.setenv(f'{library}_NUM_THREADS', '1')  # as main sets them, so that they are set back
    # Threads: processes would have to import torch again.
    monkeypatch.setattr(compare, 'ProcessPoolExecutor', lambda workers, mp_context: ThreadPoolExecutor(workers))
    compare.main(words)
    told = capsys.readouterr()
    left = 6 - len(before)
    assert re.findall(r'^\d+/\d+', told.err, re.MULTILINE) == [f'{i}/{left}' for i in range(1, left + 1)]
    assert len(list(runs.glob('*.json'))) == 6
    assert all(file.stat().st_mtime_ns == written for file, written in before.items())
    assert told.out == (output / 'table.md').read_text(encoding='utf-8')
    assert '### synthetic: 1 problems, 3 races' in told.out
    record = json.loads((runs / 'asha-2-30.json').read_text())
    assert len(record['values']) == len(record['regret']) == 30
    assert len(record['seconds']) == len(record['observations'])


@pytest.fixture
def scaling(modules: tuple[ModuleType, ...]) -> ModuleType:
    return importlib.import_module('scaling')


def free() -> float:
    """A clock on which decisions take no time."""
    return 0.0


class Watched:
    """An optimizer whose asks and tells are watched."""

    def __init__(self, optimizer: object) -> None:
        self.optimizer = optimizer
        self.running: list[int] = []
        self.most = 0

    def ask(self) -> object:
        trial = self.optimizer.ask()
        if trial is not None:
            assert trial.id not in self.running
            self.running.append(trial.id)
            self.most = max(self.most, len(self.running))
        return trial

    def tell(self, trial: object, values: list[float]) -> None:
        self.running.remove(trial.id)
        self.optimizer.tell(trial, values)


@pytest.mark.parametrize('tuner', ['dyhpo', 'asha', 'hyperband', 'random'])
def test_one_simulated_worker_is_the_serial_race(
    modules: tuple[ModuleType, ...], scaling: ModuleType, tuner: str
) -> None:
    _, peers, problems = modules
    ours, problem = importlib.import_module('peers.ours'), problems.synthetic(0)
    training = peers.Training(problem, 60)
    with pytest.raises(peers.Spent):
        ours.race(tuner, problem, 3, training)
    paid: dict[float, int] = {}
    record = scaling.simulate(ours.ask_and_tell(tuner, problem, 3), 1, 60, problem.curve, problem.cost, free)
    assert list(record['values']) == training.values
    assert record['utilization'] == pytest.approx(1)
    durations = []
    for trial, previous, epoch, begin, end in record['steps']:
        assert previous == paid.get(trial, 0)
        paid[trial] = epoch
        durations += [(end - begin) / (epoch - previous)] * (epoch - previous)
    assert list(record['times']) == pytest.approx(np.cumsum(durations))


@pytest.mark.parametrize(('tuner', 'step'), [('random', 50), ('dyhpo', 1)])
def test_free_decisions_and_equal_epochs_keep_every_worker_busy(
    modules: tuple[ModuleType, ...], scaling: ModuleType, tuner: str, step: int
) -> None:
    problem = modules[2].synthetic(0)
    optimizer = importlib.import_module('peers.ours').ask_and_tell(tuner, problem, 0)
    workers, steps = 4, 14  # three rounds and a half
    record = scaling.simulate(optimizer, workers, steps * step, problem.curve, lambda _: np.full(50, 10.0), free)
    assert len(record['values']) == steps * step
    assert record['decisions'] == steps
    assert record['utilization'] == pytest.approx(1)
    assert max(record['times']) == 4 * 10.0 * step
    begins = [begin for *_, begin, _ in record['steps']]
    assert begins == [(i // workers) * 10.0 * step for i in range(steps)]


def test_decisions_pass_on_the_simulated_clock_one_after_another(
    modules: tuple[ModuleType, ...], scaling: ModuleType
) -> None:
    problem = modules[2].synthetic(0)
    ask_and_tell = importlib.import_module('peers.ours').ask_and_tell

    def raced(workers: int, steps: int) -> dict[str, object]:
        """Each ask and each tell takes 1 s, an epoch too, and a step 50 epochs."""
        clock = iter(range(10**6)).__next__
        optimizer, seconds = ask_and_tell('random', problem, 0), lambda _: np.ones(50)
        return scaling.simulate(optimizer, workers, 50 * steps, problem.curve, seconds, clock)

    alone = raced(1, 5)
    assert max(alone['times']) == 5 * 52 - 1  # ask, train, tell; but for the last tell
    assert alone['decider'] == 10
    assert alone['utilization'] == pytest.approx(4 * 50 / (4 * 52 + 1))
    # 100 workers cannot be kept busy: a step takes the decider 2 s, so 25 train in a step's 50 s.
    crowd = raced(100, 800)
    assert crowd['decisions'] / max(crowd['times']) == pytest.approx(1 / 2, rel=0.1)
    assert crowd['utilization'] == pytest.approx(0.25, rel=0.2)


@pytest.mark.parametrize('tuner', ['dyhpo', 'asha', 'hyperband', 'random'])
def test_a_race_of_many_workers_keeps_its_rules(
    modules: tuple[ModuleType, ...], scaling: ModuleType, tuner: str
) -> None:
    problem = modules[2].synthetic(1)
    watched = Watched(importlib.import_module('peers.ours').ask_and_tell(tuner, problem, 0))
    drawn = np.random.default_rng(0)
    record = scaling.simulate(watched, 3, 103, problem.curve, lambda _: drawn.exponential(1, 50))
    assert len(record['values']) == 103, 'the budget is neither left nor overrun'
    assert watched.most == 3
    assert watched.running == []
    assert 0 < record['utilization'] <= 1
    changes = sorted((t, n) for *_, begin, end in record['steps'] for t, n in ((end, -1), (begin, 1)))
    assert max(np.cumsum([n for _, n in changes])) == 3
    ended: dict[int, tuple[int, float]] = {}
    for trial, previous, epoch, begin, end in record['steps']:
        assert ended.get(trial, (0, 0.0))[0] == previous < epoch
        assert ended.get(trial, (0, 0.0))[1] <= begin < end
        ended[trial] = epoch, end
    assert sum(epoch for epoch, _ in ended.values()) == 103
    assert sorted(record['times']) == list(record['times'])


def test_the_table_of_scaling_by_hand(scaling: ModuleType) -> None:
    def record(times: list[float], regret: list[float], busy: float) -> dict[str, object]:
        return {'times': np.array(times), 'regret': regret, 'utilization': busy, 'decisions': 30, 'decider': 6.0}

    one, two = ('hand-1', 0), ('hand-2', 0)
    runs = {
        'a, 1': {one: record([0.2, 0.8], [0.5, 0.1], 1.0), two: record([0.2, 0.4], [0.5, 0.3], 1.0)},
        'a, 4': {one: record([0.1, 0.2], [0.5, 0.1], 0.9), two: record([0.1, 0.2], [0.5, 0.2], 0.7)},
        'b, 4': {one: record([0.1, 0.2], [0.5, 0.4], 1.0), two: record([0.1, 0.2], [0.5, 0.2], 1.0)},
    }
    # Serially, the mean of 0.2 is reached at 0.8; by a with 4 workers at 0.2 (each: 4 and 2 times as fast); by b never,
    # which reaches the second's 0.3 twice as fast.
    lines = scaling.table(runs).splitlines()
    assert lines[0] == '### hand: 2 problems, 2 races that all finished'
    cells = [[cell.split(' ± ')[0].strip() for cell in line.split('|')[1:-1]] for line in lines[2:] if line]
    assert cells[0][3:7] == ['regret at 0.0156', 'regret at 0.0625', 'regret at 0.25', 'regret at 1']
    assert [row[:7] for row in cells[2:]] == [
        ['a, 1', '100', '5', '1', '1', '0.5', '0.2'],
        ['a, 4', '80', '5', '1', '1', '0.15', '0.15'],
        ['b, 4', '100', '5', '1', '1', '0.3', '0.3'],
    ]
    assert [[float(x) for x in row[7:]] for row in cells[2:]] == [[1, 1], [pytest.approx(4, rel=0.02), 3], [0, 1]]


def test_scaling_runs_on_synthetic_curves_and_is_resumed(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for library in ('OMP', 'OPENBLAS', 'MKL'):
        monkeypatch.setenv(f'{library}_NUM_THREADS', '1')
    monkeypatch.setattr(scaling, 'race', lambda jobs, processes, run: asked.extend(j for j in jobs if not run(j)))
    words = f'--problems synthetic-0 --tuners random asha --workers 1 4 --epochs 50 --output {tmp_path}'.split()
    for missing in (None, 'asha-0-4-100-own.json'):
        asked: list[object] = []
        if missing:
            (tmp_path / 'runs' / 'synthetic-0' / missing).unlink()
        scaling.main(words)
        told = capsys.readouterr().out
        assert [job.file.name for job in asked] == [missing] if missing else len(asked) == 4
        assert re.findall(r'^\| (\w+, \d)', told, re.MULTILINE) == ['random, 1', 'random, 4', 'asha, 1', 'asha, 4']
        assert told == (tmp_path / 'table-own.md').read_text(encoding='utf-8')
    scaling.main([*words, '--epoch-seconds', '10'])
    record = json.loads((tmp_path / 'runs' / 'synthetic-0' / 'random-0-4-100-10s.json').read_text())
    assert record['epoch_seconds'] == 10
    assert [round(t / 10) for t in record['times']] == [t for t in range(1, 51) for _ in range(2)]


def test_a_benchmark_without_times_wants_them_given(
    modules: tuple[ModuleType, ...], scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(modules[2], 'load', lambda name, data: numbered(modules[2]))
    job = scaling.Job('random', 'hand-1', 0, 2, 8, None, tmp_path / 'a.json', None, None)
    assert '--epoch-seconds' in scaling.run(job)
    assert scaling.run(job._replace(seconds=1.0)) is None
    assert json.loads(job.file.read_text())['times'] == pytest.approx([1, 1, 2, 2, 3, 3, 4, 4], abs=0.1)


def test_lcbench_has_the_time_of_each_epoch(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ['batch_size', 'learning_rate', 'momentum', 'weight_decay', 'num_layers', 'max_units', 'max_dropout']
    entries = [{'name': n, 'type': 'uniform_float', 'lower': 0.0, 'upper': 1.0, 'log': False} for n in names]
    (tmp_path / 'config_space.json').write_text(json.dumps({'hyperparameters': entries}))
    (tmp_path / 'encoding.json').write_text(json.dumps({'OpenML_task_id': {'7': 3}}))

    class Session:
        def __init__(self, *arguments: object) -> None: ...

        def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            """Two seconds an epoch, but for the 10th, which ends before the 9th; accuracy rises from momentum."""
            epoch, momentum = inputs['x_cont'][:, 0], inputs['x_cont'][:, 3]
            assert set(inputs['x_cat'].ravel()) == {3}
            since = np.where(epoch == 10, 17, 2 * epoch)
            return [np.column_stack([since, 100 * momentum + epoch]).astype(np.float32)]

    onnxruntime = ModuleType('onnxruntime')
    onnxruntime.SessionOptions, onnxruntime.InferenceSession = SimpleNamespace, Session
    monkeypatch.setitem(sys.modules, 'onnxruntime', onnxruntime)
    problem = modules[2].lcbench(tmp_path, '7')
    x = dict.fromkeys(names, 0.25)
    assert list(problem.cost(x)) == [2.0] * 9 + [0.0, 4.0] + [2.0] * 41
    assert problem.curve(x) == pytest.approx(0.25 + np.arange(1, 53) / 100)
    drawn = np.random.default_rng(12345).random((3000, 7))[:, 2]
    assert problem.best == pytest.approx(min(1.0, drawn.max() + 0.52), rel=1e-6)
    assert problem.worst == pytest.approx(drawn.min() + 0.01, rel=1e-6)


def test_a_forecast_is_scored_by_students_t(modules: tuple[ModuleType, ...]) -> None:
    predict = importlib.import_module('predict')
    y = np.array([0.2, 0.3, np.nan, 0.9, 0.5])
    mean, scale = np.array([0.21, 0.1, 0.5, 0.5]), np.array([0.01, 1, 0.1, 9])
    itself = lambda values: values  # noqa: E731
    optimizer = SimpleNamespace(
        predict=lambda *_: (mean, scale), signed=itself, transform=itself, metrics_of=itself, policy=Policy()
    )
    scored = predict.scored(optimizer, None, y, 1)
    held = student(df=3, loc=mean, scale=scale)
    told = y[np.isfinite(y)]
    assert scored.log_likelihood == pytest.approx(held.logpdf(told), abs=1e-2)  # the density hardly changes within STEP
    assert scored.squared_error == pytest.approx((mean - told) ** 2)
    assert scored.in_50.tolist() == (abs(held.cdf(told) - 0.5) < 0.25).tolist() == [False, True, False, True]
    assert scored.in_90.tolist() == (abs(held.cdf(told) - 0.5) < 0.45).tolist() == [True, True, False, True]


def test_overhead_is_told_at_the_number_of_observations(
    modules: tuple[ModuleType, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    overhead, ours = importlib.import_module('overhead'), importlib.import_module('peers.ours')
    steps = []

    def counted(problem, lengths):
        assert sum(lengths) == 40
        step = ours.after(problem, lengths)
        return lambda: steps.append(step())

    monkeypatch.setitem(overhead.DECISIONS, 'dyhpo', 5)
    monkeypatch.setattr(importlib.import_module('peers'), 'TUNERS', {'dyhpo': 'told'})
    monkeypatch.setitem(sys.modules, 'peers.told', SimpleNamespace(after=counted))
    overhead.measure('dyhpo', 'synthetic-0', '40')
    name, n, milliseconds, megabytes = capsys.readouterr().out.strip('| \n').split(' | ')
    assert (name, n, len(steps)) == ('dyhpo', '40', 5)
    assert float(milliseconds) > 0
    assert float(megabytes) > 10
