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


def test_the_table_by_hand(modules: tuple[ModuleType, ...]) -> None:
    compare = modules[0]
    level = {
        'one': {('hand-a', 0): 0.1, ('hand-a', 1): 0.3, ('hand-b', 0): 0.6},
        'two': {('hand-a', 0): 0.1, ('hand-a', 1): 0.3, ('hand-b', 0): 0.8, ('hand-b', 1): 0.5},
    }
    runs = {
        tuner: {
            race: {'regret': [1.0] * 20 + [regret] * 5, 'seconds': [0.002, 0.004], 'observations': [1, 2]}
            for race, regret in of_tuner.items()
        }
        for tuner, of_tuner in level.items()
    }
    # Problem means are 0.2 and 0.6 for the one, 0.2 and 0.8 for the other, whose fourth race is not compared.
    # The AUC is 0.8 + 0.2 of these means. The error of two means is half their distance.
    # Both races on the first problem are tied: ranks 1.5 and 1.5, then 1 and 2.
    assert compare.table(runs, 25).splitlines() == [
        '### hand: 2 problems, 3 races that every tuner finished',
        '',
        '| tuner | regret at 25 | AUC | ms a decision | s a race |',
        '|---|---|---|---|---|',
        '| one | 0.4 ± 0.2 | 0.88 ± 0.04 | 3 ± 0 | 0.006 ± 0 |',
        '| two | 0.5 ± 0.3 | 0.9 ± 0.06 | 3 ± 0 | 0.006 ± 0 |',
        '',
        '| tuner | rank at 25 |',
        '|---|---|',
        '| one | 1.25 ± 0.25 |',
        '| two | 1.75 ± 0.25 |',
        '',
    ]


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
