"""Objective functions that misbehave: each has one outcome, and the race goes on."""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from races import tune
from runs import events_of

from hpo4dl import StorageError, Tuner
from hpo4dl.execution import worker


class Surprise(BaseException):
    """What no `except Exception` catches."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError('no message')

    __repr__ = __str__


class Leaves(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def results(tuner: Tuner) -> list[dict]:
    return events_of(tuner.run_folder, 'result')


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (ValueError('a\nb'), 'ValueError: a b'),
        (SystemExit(3), 'SystemExit: 3'),
        (MemoryError(), 'MemoryError'),
        (RecursionError('too deep'), 'RecursionError: too deep'),
        (GeneratorExit(), 'GeneratorExit'),
        (Surprise('mine'), 'Surprise: mine'),
        (Unspeakable(), 'Unspeakable: (its message cannot be read)'),
        (Leaves(), 'Leaves: (its message cannot be read)'),
        (OSError(2, 'no such data'), 'FileNotFoundError: [Errno 2] no such data'),
        (Exception('x' * 10**6), 'Exception: xxx'),
    ],
)
def test_whatever_is_raised_fails_the_trial_alone(tmp_path: Path, error: BaseException, reason: str) -> None:
    calls = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        if len(calls) == 3:
            raise error
        return {'epoch': epoch, 'metric': configuration['x']}

    tuner = tune(tmp_path, objective, optimizer='random', max_epochs=1, max_budget=6)
    tuner.run()
    failed = [result['failed'] for result in results(tuner) if result['failed']]
    assert len(failed) == 1
    assert failed[0].startswith(reason)
    assert len(failed[0]) <= 1000
    assert len(calls) == 6


@pytest.mark.parametrize('times', [1, 2])
def test_retry_makes_a_failed_call_again_from_the_last_checkpoint(tmp_path: Path, times: int) -> None:
    fails = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        file = Path(checkpoint_path) / 'epoch'
        assert int(file.read_text() if file.exists() else 0) == previous_epoch
        file.write_text(str(epoch))
        if previous_epoch > 0 and len(fails) < times:
            fails.append(epoch)
            raise ConnectionError('data is away')
        return [{'epoch': i, 'metric': configuration['x']} for i in range(previous_epoch + 1, epoch + 1)]

    tuner = tune(tmp_path, objective, optimizer='asha', retry=1)
    tuner.run()
    failed = [result['failed'] for result in results(tuner) if result['failed']]
    assert failed == ['ConnectionError: data is away'] * (times - 1)
    assert len(set(fails)) == 1


def test_a_hundred_megabytes_of_output_are_no_trouble(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        for _ in range(100):
            sys.stdout.write('x' * 1_000_000)
        return {'epoch': epoch, 'metric': configuration['x']}

    tune(tmp_path, objective, optimizer='random', max_epochs=1, max_budget=1).run()
    assert len(capfd.readouterr().out) == 100_000_000


def test_information_that_is_too_much_is_said_and_not_recorded(tmp_path: Path) -> None:
    loop: list = []
    loop.append(loop)
    told = {
        'weights': list(range(10**5)),
        'short': loop,
        'big': 10**400,
        'nan': math.nan,
        'tensor': torch.ones(3),
        ('a', 1): 2,
    }

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        information = dict(told) if epoch > 1 else {k: v for k, v in told.items() if k != 'weights'}
        return {'epoch': epoch, 'metric': configuration['x'], **information}

    tuner = tune(tmp_path, objective, optimizer='asha', max_epochs=3, max_budget=14)
    tuner.run()
    assert not [result for result in results(tuner) if result['failed']]
    assert (tuner.run_folder / 'journal.jsonl').stat().st_size < 100_000
    informations = [entry['info'] for result in results(tuner) for entry in result['epochs']]
    assert {'not_recorded'} in [set(information) for information in informations]
    small = next(i for i in informations if 'nan' in i)
    assert small['nan'] == 'nan'
    assert small['tensor'] == 'tensor([1., 1., 1.])'
    assert small["('a', 1)"] == 2


def test_a_tensor_of_one_element_on_a_device_is_a_number(tmp_path: Path) -> None:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        return {'epoch': torch.tensor(epoch), 'metric': torch.tensor([[2.5]], device=device, requires_grad=True)}

    assert tune(tmp_path, objective, optimizer='random', max_epochs=1, max_budget=2).run()['metric'] == 2.5


def test_an_objective_that_removes_its_folder_or_moves_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        configuration['x'] = 'changed'
        shutil.rmtree(checkpoint_path)
        os.chdir(elsewhere)
        return {'epoch': epoch, 'metric': 1.0}

    tuner = tune(Path('runs'), objective, optimizer='asha', max_budget=12)
    assert isinstance(tuner.run()['configuration']['x'], float)
    assert tuner.epochs_spent == 12
    assert list(elsewhere.iterdir()) == []


def test_a_call_that_fails_because_the_disk_is_full_fails_no_trial(tmp_path: Path, monkeypatch) -> None:
    """What torch.save raises then names no errno: whether the folder can be written is looked at."""
    calls = []

    def full(path, mode):
        if Path(path).name.startswith('.hpo4dl.') and len(calls) == 2:
            raise OSError(28, 'No space left on device')
        return open(path, mode)

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        if len(calls) == 2:
            raise RuntimeError('PytorchStreamWriter failed writing file')
        return {'epoch': epoch, 'metric': configuration['x']}

    monkeypatch.setattr(worker, 'open', full, raising=False)
    tuner = tune(tmp_path, objective, optimizer='random', max_epochs=1, max_budget=5)
    with pytest.raises(StorageError, match='No space left'):
        tuner.run()
    assert len(results(tuner)) == 1
    tuner.run()
    assert [result['failed'] for result in results(tuner)] == [None] * 5
    assert len(calls) == 6
