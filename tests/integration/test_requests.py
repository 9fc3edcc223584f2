"""A run under way is talked to: configurations are added, trials given up, the race ended; resume and replay know."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import objectives
import pytest

from hpo4dl import EveryTrialFailedError, Tuner, replay
from hpo4dl.analysis.run import Run, read_run
from hpo4dl.tools.cli import main
from hpo4dl.tools.requests import FOLDER, Requests

SPACE = {'x': {'float': [-5.0, 10.0]}, 'n': {'int': [1, 9]}, 'kind': {'choice': ['a', 'b']}}
SPACE['y'] = {'float': [0.0, 1.0], 'when': 'kind == a'}
OPTIMIZERS = ['dyhpo', 'asha', 'hyperband', 'random']


def objective(configuration, epoch, previous_epoch, checkpoint_path):
    return objectives.curve(configuration['x'], epoch, previous_epoch)


def raced(folder: Path, say: Any, **options: Any) -> Path:
    """A race in which `say(run_folder, event)` is called after each result; and then resumed for some epochs more."""
    given = {'max_epochs': 9, 'max_budget': 40, 'seed': 0, 'minimize': True, 'output_path': folder, 'progress': False}
    given |= {'num_configurations': 50, **options}
    tuner = Tuner(objective, SPACE, callbacks=[lambda event: say(tuner.run_folder, event)], **given)
    tuner.run()
    Tuner.resume(tuner.run_folder, objective, max_budget=50, progress=False).run()
    return tuner.run_folder


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / 'journal.jsonl').read_text(encoding='utf-8').splitlines())
    return [event for event in lines if event['event'] == kind]


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_configuration_is_raced_next(optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    known: list[int] = []

    def say(folder: Path, event: Any) -> None:
        if event.epochs_spent >= 12 and not known:
            known.append(len(read_run(folder).trials))
            for _ in range(2):  # twice is once
                assert main(['enqueue', str(folder), '--x', '2', '--n=3', '--kind', 'a', '--y', '.5']) == 0
            assert main(['enqueue', str(folder), '--x', '-1e-1', '--n', '4', '--kind', 'b']) == 0

    folder = raced(tmp_path, say, optimizer=optimizer)
    assert capsys.readouterr().out == 'it is raced next\n' * 3
    run, n = read_run(folder), known[0]
    assert run.trials[n].configuration == {'x': 2.0, 'n': 3, 'kind': 'a', 'y': 0.5}
    assert run.trials[n + 1].configuration == {'x': -0.1, 'n': 4, 'kind': 'b'}
    assert [trial.configuration['x'] for trial in run.trials.values()].count(2.0) == 1
    assert len(events(folder, 'enqueue')) == 3
    assert list((folder / FOLDER).iterdir()) == []
    assert replay(folder) == len(events(folder, 'start'))


@pytest.mark.parametrize('optimizer', OPTIMIZERS[:3])
def test_a_paused_trial_is_given_up(optimizer: str, tmp_path: Path) -> None:
    given_up: list[int] = []

    def best_paused(run: Run) -> int | None:
        return next((trial.id for trial in run.ranked() if trial.epoch < 9 and trial.id not in run.running), None)

    def say(folder: Path, event: Any) -> None:
        if event.epochs_spent >= 12 and not given_up:
            given_up.append(best_paused(read_run(folder)))
            assert main(['stop', str(folder), '--trial', str(given_up[0])]) == 0

    folder = raced(tmp_path, say, optimizer=optimizer)
    run = read_run(folder)
    (event,) = events(folder, 'give_up')
    assert event['trial'] == given_up[0]
    assert str(run.trials[given_up[0]].failed).startswith('given up')
    assert all(start['time'] < event['time'] for start in events(folder, 'start') if start['trial'] == given_up[0])
    assert not (folder / 'checkpoints' / f'trial_{given_up[0]}').exists()
    assert replay(folder) == len(events(folder, 'start'))


def test_a_trial_that_runs_is_ended(tmp_path: Path) -> None:
    options: dict[str, Any] = {'num_workers': 2, 'retry': 3, 'optimizer': 'asha', 'progress': False}
    tuner = Tuner(objectives.hangs, {'x': {'constant': 10.0}}, 9, 20, output_path=tmp_path, **options)

    def say() -> None:
        while not list(tuner.run_folder.glob('hangs_*')):
            time.sleep(0.05)
        assert main(['stop', str(tuner.run_folder), '--trial', '0']) == 0

    thread = threading.Thread(target=say)
    thread.start()
    with pytest.raises(EveryTrialFailedError, match="1 times 'given up: hpo4dl stop --trial'"):
        tuner.run()
    thread.join()
    assert read_run(tuner.run_folder).lost == []


def test_a_race_is_ended_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def say(folder: Path, event: Any) -> None:
        if event.epochs_spent == 5:
            assert main(['stop', str(folder)]) == 0

    folder = raced(tmp_path, say, optimizer='asha')
    first, last = events(folder, 'stop')
    assert first['reason'].startswith('hpo4dl stop: ')
    assert last['reason'].startswith('max_budget')
    assert read_run(folder).epochs_spent == 50
    capsys.readouterr()
    assert main(['stop', str(folder)]) == 1
    assert 'one that a tuner works on' in capsys.readouterr().err


def test_a_stop_that_nobody_saw_does_not_stop_the_next(tmp_path: Path) -> None:
    tuner = Tuner(objective, SPACE, 9, 5, output_path=tmp_path, optimizer='asha', progress=False)
    Requests(tuner.run_folder).add({'kind': 'stop'})
    tuner.run()
    assert str(tuner.stopped).startswith('max_budget')


def test_what_cannot_be_is_passed_over(tmp_path: Path) -> None:
    tuner = Tuner(objective, SPACE, 9, 5, output_path=tmp_path, optimizer='asha', progress=False)
    requests = Requests(tuner.run_folder)
    for request in (
        {},
        {'kind': 'dance'},
        {'kind': 'enqueue'},
        {'kind': 'enqueue', 'configuration': {'x': 11.0}},
        {'kind': 'enqueue', 'configuration': 3},
        {'kind': 'give_up', 'trial': 99},
        {'kind': 'give_up', 'trial': []},
    ):
        requests.add(request)
    (tuner.run_folder / FOLDER / '0_torn.json').write_text('{"kind"')
    tuner.run()
    assert str(tuner.stopped).startswith('max_budget')
    assert [path.name for path in (tuner.run_folder / FOLDER).iterdir()] == ['0_torn.json']
    assert replay(tuner.run_folder) == len(events(tuner.run_folder, 'start'))


@pytest.mark.parametrize(
    ('typed', 'says'),
    [
        (['--x', '2'], 'which is active'),
        (['--x', '2', '--n', '3', '--kind', 'b', '--y', '0.5'], 'whose condition is not met'),
        (['--x', '20', '--n', '3', '--kind', 'b'], 'a number from -5'),
        (['--x', 'two', '--n', '3', '--kind', 'b'], 'a number from -5'),
        (['--z', '2'], "the hyperparameters ['kind', 'n', 'x', 'y']"),
        (['--x'], '--NAME VALUE'),
        ([], 'which is active'),
    ],
)
def test_what_is_typed_wrong_is_refused(typed: list[str], says: str, tmp_path: Path, capsys: Any) -> None:
    tuner = Tuner(objective, SPACE, 9, 5, output_path=tmp_path, optimizer='asha', progress=False)
    assert main(['enqueue', str(tuner.run_folder), *typed]) == 1
    assert says in capsys.readouterr().err
    assert not (tuner.run_folder / FOLDER).exists()
