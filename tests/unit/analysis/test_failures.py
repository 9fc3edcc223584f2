"""Failures are grouped by what they are: type and place, whatever paths and numbers their messages have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpo4dl import Trial
from hpo4dl.analysis.failures import FailureLog, failure, grouped, likeness


def trace(*frames: tuple[str, int, str]) -> str:
    lines = [f'  File "{file}", line {line}, in {function}\n    call()' for file, line, function in frames]
    return '\n'.join(['Traceback (most recent call last):', *lines, 'Error: x'])


OURS = ('/usr/lib/python3.11/site-packages/hpo4dl/execution/worker.py', 98, 'call_objective')
TORCH = ('/venv/lib/python3.11/site-packages/torch/nn/module.py', 1553, 'forward')


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('/runs/a/trial_0/attempt_3/model.pt: No such file', '/runs/a/trial_7/attempt_12/model.pt: No such file', True),
        ('CUDA out of memory: 2.5 GiB of 16', 'CUDA out of memory: 31.25 GiB of 16', True),
        ('loss is 1e-05', 'loss is 3.5e+10', True),
        ('CUDA out of memory', 'no kernel image', False),
    ],
)
def test_paths_and_numbers_do_not_make_a_kind(one: str, other: str, same: bool) -> None:
    assert (likeness(one, None) == likeness(other, None)) is same


def test_the_place_is_the_last_one_in_the_users_code() -> None:
    told = trace(OURS, ('/home/me/tune.py', 12, 'train'), TORCH)
    assert str(failure('RuntimeError: sizes', told)) == 'RuntimeError: sizes in train (tune.py:12)'
    assert likeness('E: x', told) != likeness('E: x', trace(OURS, ('/home/me/tune.py', 13, 'train'), TORCH))
    assert failure('E: x', trace(OURS, TORCH)).place == 'in forward (module.py:1553)', 'there is no other'
    assert failure('returned None', None).place == ''


def test_the_reason_is_not_behind_a_long_path() -> None:
    found = failure(f'StorageError: /scratch/{"x" * 200}/trial_3/attempt_4/checkpoint.pt: No such file', None)
    assert str(found) == 'StorageError: .../checkpoint.pt: No such file'
    assert len(failure('x' * 500, trace(('/home/me/tune.py', 12, 'train'))).short(80)) == 80


def test_groups_count_every_trial_and_begin_with_the_most_frequent() -> None:
    failed = [f'StorageError: /run/trial_{i}/c.pt: No such file' for i in range(14)] + ['ValueError: 3'] * 2 + [None]
    trials = [SimpleNamespace(id=i, failed=reason, traceback=None) for i, reason in enumerate(failed)]
    first, second = grouped(trials)
    assert (first.message, first.trials) == ('StorageError: .../c.pt: No such file', list(range(14)))
    assert second.trials == [14, 15]


def test_a_warning_about_the_first_the_tenth_and_the_hundredth() -> None:
    log = FailureLog()
    told = [(n, *log.about(Trial(n, {}, 0, 2), f'ValueError: {n}', None)) for n in range(1, 121)]
    assert [n for n, *texts in told if texts] == [1, 10, 100]
    assert told[0][1] == 'trial 1 failed on its way to epoch 2: ValueError: 1'
    assert told[9][1].startswith('10 trials have failed like trial 10: ')
