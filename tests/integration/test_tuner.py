"""The tuner through its public interface."""

from __future__ import annotations

import csv
import math
import os
import re
import signal
import threading
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from objectives import Quadratic
from races import NAMES, space, tune
from runs import content, events_of

import hpo4dl
from hpo4dl import ArgumentError, DyHPO, EveryTrialFailedError, RunLockedError, Tuner
from hpo4dl.analysis.report import report_text
from hpo4dl.analysis.run import read_run


@pytest.mark.parametrize('name', NAMES)
def test_spends_the_budget_exactly_and_returns_the_best_of_the_journal(tmp_path: Path, name: str) -> None:
    objective = Quadratic()
    tuner = tune(tmp_path, objective, optimizer=name)
    incumbent = tuner.run()
    assert sum(epoch - previous for _, previous, epoch in objective.calls) == 40 == tuner.epochs_spent
    table = (tuner.run_folder / 'hpo4dl_results.csv').read_text(encoding='utf-8')
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 40
    assert incumbent['metric'] == min(float(row['metric']) for row in rows) == float(rows[-1]['best_metric'])
    assert incumbent['half'] == incumbent['epoch'] / 2
    assert int((tuner.run_folder / 'best_trial' / 'epochs').read_text()) >= incumbent['epoch']
    assert len(events_of(tuner.run_folder, 'result')) == len(objective.calls)


@pytest.mark.parametrize('name', NAMES)
def test_same_seed_same_decisions_other_seed_others(tmp_path: Path, name: str) -> None:
    objectives = [Quadratic() for _ in range(3)]
    for objective, seed in zip(objectives, [3, 3, 4]):
        tune(tmp_path, objective, optimizer=name, seed=seed, max_budget=20).run()
    assert objectives[0].calls == objectives[1].calls != objectives[2].calls


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('dies_at', [0, 1, 3])
def test_resumed_run_is_the_uninterrupted_one(tmp_path: Path, name: str, dies_at: int) -> None:
    whole, first, second = Quadratic(), Quadratic(dies_at), Quadratic()
    budget = 15 if name == 'dyhpo' else 40
    expected = tune(tmp_path, whole, optimizer=name, max_budget=budget).run()
    tuner = tune(tmp_path, first, optimizer=name, max_budget=budget)
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    incumbent = Tuner.resume(tuner.run_folder, second, progress=False).run()
    assert first.calls + second.calls == whole.calls
    for key in ('configuration', 'configuration_id', 'epoch', 'metric'):
        assert incumbent[key] == expected[key]


def test_resume_late_in_a_dyhpo_run_is_exact(tmp_path: Path) -> None:
    whole, first, second = Quadratic(), Quadratic(31), Quadratic()
    tune(tmp_path, whole, optimizer='dyhpo').run()
    tuner = tune(tmp_path, first, optimizer='dyhpo')
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    with (tuner.run_folder / 'journal.jsonl').open('a') as journal:
        journal.write('{"event": "resu')  # a write that a kill cut short
    Tuner.resume(tuner.run_folder, second, progress=False).run()
    assert first.calls + second.calls == whole.calls


def test_resume_of_an_ended_run_returns_its_incumbent_and_goes_on_with_more_budget(tmp_path: Path) -> None:
    objective = Quadratic()
    tuner = tune(tmp_path, objective)
    incumbent, calls = tuner.run(), len(objective.calls)
    assert Tuner.resume(tuner.run_folder, objective, progress=False).run() == incumbent
    assert len(objective.calls) == calls
    again = Tuner.resume(tuner.run_folder, objective, max_budget=45, progress=False)
    again.run()
    assert again.epochs_spent == 45


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), max_budget=4)
    tuner.run()
    journal = tuner.run_folder / 'journal.jsonl'
    lines = journal.read_bytes().split(b'\n')
    lines[2] = lines[2].replace(b'1', b'2', 1)
    journal.write_bytes(b'\n'.join(lines))
    with pytest.raises(hpo4dl.JournalError, match='line 3'):
        Tuner.resume(tuner.run_folder, Quadratic(), progress=False).run()


@pytest.mark.parametrize(
    ('returned', 'reason'),
    [
        (None, 'returned None'),
        ({'metric': 1.0}, 'accepted: a dict with epoch and metric'),
        ({'epoch': 7, 'metric': 1.0}, 'asked for were 1 to 3'),
        ({'epoch': 3, 'metric': math.nan}, 'not a finite number'),
        ({'epoch': 3, 'metric': math.inf}, 'not a finite number'),
        ({'epoch': 3, 'metric': None}, 'not a finite number'),
        ({'epoch': 3, 'metric': '0.5'}, 'not a finite number'),
        ({'epoch': 3, 'metric': 1j}, 'not a finite number'),
        ({'epoch': 3, 'metric': np.complex128(1)}, 'not a finite number'),
        ({'epoch': 3, 'metric': np.str_('0.5')}, 'not a finite number'),
        ({'epoch': 3, 'metric': np.float16('inf')}, 'not a finite number'),
        ({'epoch': 3, 'metric': Decimal('sNaN')}, 'not a finite number'),
        ({'epoch': 3, 'metric': Fraction(10**400)}, 'not a finite number'),
        ({'epoch': 3, 'metric': np.zeros(2)}, 'not a finite number'),
        ({'epoch': 3, 'metric': torch.zeros(1, device='meta')}, 'not a finite number'),
        ([{'epoch': 3, 'metric': 1.0}, {'epoch': 3, 'metric': 2.0}], 'more than once'),
        ({'epoch': 2, 'metric': 1.0}, 'the last one returned is 2'),
    ],
)
def test_unusable_results_fail_the_trial_and_the_race_goes_on(tmp_path: Path, returned, reason: str) -> None:
    calls = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        return returned if len(calls) == 2 else {'epoch': epoch, 'metric': configuration['x']}

    tuner = tune(tmp_path, objective, optimizer='random', max_epochs=3, max_budget=12)
    tuner.run()
    assert len(calls) == 4
    failed = [event['failed'] for event in events_of(tuner.run_folder, 'result')]
    assert [bool(f) for f in failed] == [False, True, False, False]
    assert reason in failed[1]


def test_what_is_usable_before_a_nan_counts(tmp_path: Path) -> None:
    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        return [{'epoch': 1, 'metric': 5.0}, {'epoch': 2, 'metric': math.nan}, {'epoch': 3, 'metric': 9.0}]

    tuner = tune(tmp_path, objective, optimizer='random', max_epochs=3, max_budget=3, minimize=False)
    assert tuner.run()['metric'] == 5.0


NUMBERS = [np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5), torch.ones(1) / 2]
NUMBERS += [Decimal('0.5'), Fraction(1, 2), np.float16(0.5), torch.tensor(0.5, dtype=torch.bfloat16)]


@pytest.mark.parametrize('number', NUMBERS)
def test_scalars_of_numpy_and_torch_are_numbers(tmp_path: Path, number) -> None:
    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        return {'epoch': np.int64(epoch), 'metric': number}

    assert tune(tmp_path, objective, optimizer='random', max_budget=9).run()['metric'] == 0.5


@pytest.mark.parametrize('name', NAMES)
def test_every_failure_is_bounded_and_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        raise RuntimeError('no CUDA here')

    with pytest.raises(EveryTrialFailedError, match=r'10 times .*no CUDA here'):
        tune(tmp_path, objective, optimizer=name, max_budget=1000).run()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('hpo4dl: to go on:')
    assert 'budget' not in last, 'most of it is left'


@pytest.mark.parametrize('name', NAMES)
def test_a_space_of_six_is_trained_to_the_end(tmp_path: Path, name: str) -> None:
    calls = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch - previous_epoch)
        return {'epoch': epoch, 'metric': configuration['n']}

    six = ConfigurationSpace({'n': (1, 6)})
    tuner = tune(tmp_path, objective, optimizer=name, configuration_space=six, max_budget=1000)
    assert tuner.run()['metric'] == 1
    assert sum(calls) == 6 * 9
    assert 'nothing is left' in tuner.stopped


def test_it_stops_when_little_is_to_be_gained(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='dyhpo', stop_when_gain_below=0.5, max_budget=300)
    tuner.run()
    assert tuner.stopped.startswith('stop_when_gain_below')
    assert tuner.epochs_spent < 300
    assert 'expected_gain' in events_of(tuner.run_folder)[-1]
    expected = tuner.optimizer.expected_gain()
    assert 0 <= expected < 0.5
    assert f'is expected to improve the metric by {expected:.2g}' in report_text(read_run(tuner.run_folder))
    # It goes on when less is asked for, and not before.
    for least, more in [(None, 0), (1e-9, 3)]:
        objective, budget = Quadratic(), tuner.epochs_spent + 3
        again = Tuner.resume(tuner.run_folder, objective, stop_when_gain_below=least, max_budget=budget, progress=False)
        again.run()
        assert len(objective.calls) == more
    with pytest.raises(ArgumentError, match='stop_when_gain_below'):
        tune(tmp_path, Quadratic(), optimizer='asha', stop_when_gain_below=0.1)


def test_the_target_stops(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), target=30.0, max_budget=None)
    assert tuner.run()['metric'] <= 30
    assert tuner.stopped.startswith('target')


def test_a_signal_stops_after_the_call_that_runs(tmp_path: Path) -> None:
    quadratic = Quadratic()

    def interrupted(*arguments):
        if len(quadratic.calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return quadratic(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    tuner = tune(tmp_path, interrupted, optimizer='asha')
    tuner.run()
    assert tuner.stopped == 'SIGTERM: the calls that ran then were the last ones'
    assert len(quadratic.calls) == 3
    assert signal.getsignal(signal.SIGTERM) is before
    again = Tuner.resume(tuner.run_folder, quadratic, progress=False)
    again.run()
    assert again.epochs_spent == 40


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('objective_function', lambda x: x),
        ('configuration_space', {'x': (0, 1)}),
        ('configuration_space', ConfigurationSpace()),
        ('max_epochs', 0),
        ('max_budget', -1),
        ('max_budget', None),
        ('max_budget', [9]),
        ('output_path', 7),
        ('output_path', 'a\0b'),
        ('output_path', '/dev/null/below'),
        ('optimizer', 'bohb'),
        ('minimize', 'yes'),
        ('num_configurations', 0),
        ('seed', -1),
        ('device', 'abacus'),
        ('storage_path', 7),
        ('storage_path', '/dev/null/below'),
        ('time_limit', 0),
        ('target', math.nan),
        ('stop_when_gain_below', 0),
        ('initial_configurations', [{'y': 1}]),
        ('candidates', []),
        ('keep_checkpoints', 'some'),
        ('executor', 3),
        ('num_workers', 0),
        ('devices', ['cpu']),
        ('retry', -1),
        ('trial_timeout', 0),
        ('checkpoints', 'somewhere'),
        ('max_disk', '20 quux'),
        ('callbacks', [3]),
        ('progress', 'yes'),
    ],
)
def test_every_argument_is_checked(tmp_path: Path, argument: str, value) -> None:
    arguments = {'max_epochs': 3, 'max_budget': 9, 'output_path': tmp_path / 'runs'}
    arguments |= {'objective_function': Quadratic(), 'configuration_space': space(), argument: value}
    with pytest.raises(ArgumentError, match=argument) as error:
        Tuner(**arguments)
    assert 'accepted' in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('run_folder', 7),
        ('objective_function', lambda x: x),
        ('max_budget', 0),
        ('time_limit', 0),
        ('target', math.nan),
        ('stop_when_gain_below', 0),
        ('optimizer', DyHPO(space(), 9)),
        ('configuration_space', {'x': (0, 1)}),
        ('executor', 3),
        ('num_workers', 0),
        ('devices', ['cpu']),
        ('retry', -1),
        ('trial_timeout', 0),
        ('max_disk', 0),
        ('callbacks', [3]),
        ('progress', 'yes'),
        ('take_over', 'yes'),
        ('salvage', 'yes'),
    ],
)
def test_every_argument_of_resume_is_checked(tmp_path: Path, argument: str, value) -> None:
    tuner = tune(tmp_path, Quadratic())
    before = content(tmp_path)
    with pytest.raises(ArgumentError, match=argument):
        Tuner.resume(**{'run_folder': tuner.run_folder, 'objective_function': Quadratic(), argument: value})
    assert content(tmp_path) == before


def test_initial_configurations_come_first_and_candidates_restrict(tmp_path: Path) -> None:
    objective = Quadratic()
    arguments = {'optimizer': 'dyhpo', 'max_budget': 10}
    tune(tmp_path, objective, initial_configurations=[{'x': 1.5}, {'x': -1.0}], **arguments).run()
    assert [x for x, _, _ in objective.calls[:2]] == [1.5, -1.0]
    objective = Quadratic()
    candidates = [{'x': 0.1}, {'x': 7.0}, {'x': 3.3}]
    tune(tmp_path, objective, candidates=candidates, optimizer='dyhpo', max_budget=100).run()
    assert {x for x, _, _ in objective.calls} == {0.1, 7.0, 3.3}
    assert sum(epoch - previous for _, previous, epoch in objective.calls) == 27


def test_callbacks_are_told_and_may_fail(tmp_path: Path) -> None:
    events = []

    def broken(event):
        raise ValueError('mine')

    tune(tmp_path, Quadratic(), optimizer='dyhpo', max_budget=5, callbacks=[events.append, broken]).run()
    assert [event.epochs_spent for event in events] == [1, 2, 3, 4, 5]


def test_an_object_as_optimizer_and_two_runs_in_one_second(tmp_path: Path) -> None:
    optimizer = DyHPO(space(), 9, minimize=True, seed=0, horizon='next', num_configurations=50)
    one = tune(tmp_path, Quadratic(), optimizer=optimizer, max_budget=12)
    two = tune(tmp_path, Quadratic(), optimizer='random')
    assert one.run_folder != two.run_folder
    one.run()


def test_a_second_tuner_on_the_folder_is_refused(tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        inside.set()
        leave.wait(120)
        return {'epoch': epoch, 'metric': 1.0}

    tuner = tune(tmp_path, objective, max_budget=1)
    thread = threading.Thread(target=tuner.run)
    thread.start()
    assert inside.wait(120)
    try:
        with pytest.raises(RunLockedError, match=str(os.getpid())):
            Tuner.resume(tuner.run_folder, objective, progress=False).run()
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize(('keep', 'left'), [('all', 3), ('alive', 0), ('best', 0)])
def test_keep_checkpoints_bounds_what_is_kept(tmp_path: Path, keep: str, left: int) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='random', max_budget=27, keep_checkpoints=keep)
    tuner.run()
    assert len(list((tuner.run_folder / 'checkpoints').glob('trial_*/attempt_*/epochs'))) == left
    assert (tuner.run_folder / 'best_trial' / 'epochs').read_text() == '9'


def test_an_optimizer_object_of_another_race_is_refused(tmp_path: Path) -> None:
    used = DyHPO(space(), 9, minimize=True, seed=0)
    used.ask()
    others = [DyHPO(space(), 27, minimize=True), DyHPO(space(), 9), used]
    others.append(DyHPO(ConfigurationSpace({'y': (0.0, 1.0)}), 9, minimize=True))
    for other, reason in zip(others, ['max_epochs: 9', 'minimize: True', 'asked for: 0', 'hyperparameters']):
        with pytest.raises(ArgumentError, match=reason):
            tune(tmp_path, Quadratic(), optimizer=other)


def test_a_call_that_fails_after_a_stopping_signal_is_made_again(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to the workers of a data loader too, and the call fails of that."""
    quadratic = Quadratic()

    def interrupted(*arguments):
        if len(quadratic.calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError('DataLoader worker is killed by signal: Interrupt')
        return quadratic(*arguments)

    tuner = tune(tmp_path, interrupted, optimizer='asha')
    tuner.run()
    assert tuner.stopped.startswith('SIGINT')
    whole = Quadratic()
    tune(tmp_path, whole, optimizer='asha').run()
    Tuner.resume(tuner.run_folder, quadratic, progress=False).run()
    assert quadratic.calls == whole.calls


def test_the_best_of_a_previous_run_starts_the_next(tmp_path: Path) -> None:
    first = tune(tmp_path, Quadratic(), optimizer='random', max_budget=45)
    best = first.run()['configuration']
    objective = Quadratic()
    tune(tmp_path, objective, warm_start=first.run_folder).run()
    assert objective.calls[0][0] == best['x']


@pytest.mark.parametrize('candidates', [[{'x': 1.0}], [{'x': 1.0}, {'x': 3.0}, {'x': 4.0}]])
def test_no_call_is_started_that_would_not_end_in_time(tmp_path: Path, candidates: list[dict]) -> None:
    """Neither one of a trial that has shown how long it takes, nor one of a new trial, judged by the others."""

    def slow(*arguments):
        time.sleep(0.7)  # seconds of the one that the race has
        return first(*arguments)

    whole, first, second = Quadratic(), Quadratic(), Quadratic()
    tune(tmp_path, whole, max_budget=6, optimizer='dyhpo', candidates=candidates).run()
    tuner = tune(tmp_path, slow, max_budget=6, optimizer='dyhpo', candidates=candidates, time_limit=1)
    tuner.run()
    assert len(first.calls) == 1
    assert re.fullmatch(
        r'time_limit: 0\.\d seconds are left, the next call takes 0\.\d, it is predicted', tuner.stopped
    )
    Tuner.resume(tuner.run_folder, second, time_limit=1000, progress=False).run()
    assert first.calls + second.calls == whole.calls


def test_the_race_ends_before_its_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = int(time.time()) + 32
    monkeypatch.setenv('SLURM_JOB_END_TIME', str(end))
    tuner = tune(tmp_path, Quadratic(), max_budget=10**9, optimizer='random')
    tuner.run()
    assert time.time() < end
    assert tuner.stopped.startswith('the end of the Slurm job')
    for unheeded in (str(int(time.time()) - 5), 'soon', ''):
        monkeypatch.setenv('SLURM_JOB_END_TIME', unheeded)
        tuner = tune(tmp_path, Quadratic(), max_budget=9, optimizer='random')
        tuner.run()
        assert tuner.stopped.startswith('max_budget')
