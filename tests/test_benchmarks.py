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
from types import ModuleType

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float

BENCHMARKS = Path(__file__).parents[1] / 'examples' / 'benchmarks'


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
