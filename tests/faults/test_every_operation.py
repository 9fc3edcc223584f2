"""Each operation on files that a short race makes is refused once: one clear error, and nothing recorded is lost.

`faults.py` refuses some of the writes, for good. Here looks at files count, too, and any tuner of the same process
goes on: the same one, or one that resumes.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from objectives import Quadratic
from races import tune
from runs import events_of

from hpo4dl import HPO4DLError, StorageError, Tuner, replay

NAMES = (
    'write fsync rename replace mkdir unlink rmdir link copy_file_range open ftruncate fchmod chmod utime stat lstat '
    'fstat scandir listdir lseek pread'
).split()


@contextlib.contextmanager
def refused_once(at: int, number: int) -> Iterator[list[str]]:
    """The `at`-th operation fails; tells the operations that were made."""
    made: list[str] = []

    def refusing(name: str, function):
        def operation(*arguments, **keywords):
            made.append(name)
            if len(made) == at:
                raise OSError(number, os.strerror(number))
            return function(*arguments, **keywords)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, 'open', refusing('builtin open', open))
        for name in NAMES:
            if hasattr(os, name):
                patch.setattr(os, name, refusing(name, getattr(os, name)))
        yield made


def race(folder: Path) -> Tuner:
    return tune(folder, Quadratic(), max_epochs=3, max_budget=9)


def recorded(run: Path) -> dict[tuple[int, int], float]:
    entries = [(event['trial'], entry) for event in events_of(run, 'result') for entry in event['epochs']]
    assert len({(trial, entry['epoch']) for trial, entry in entries}) == len(entries), 'nothing is trained twice'
    return {(trial, entry['epoch']): entry['metric'] for trial, entry in entries}


@pytest.mark.parametrize('part', range(4))
@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC])
def test_an_operation_that_is_refused_loses_nothing(tmp_path: Path, part: int, number: int) -> None:
    whole = race(tmp_path / 'whole')
    with refused_once(-1, number) as made:
        whole.run()
    expected = recorded(whole.run_folder)
    assert len(made) > 300
    step, errors = 53, 0
    for at in range(1 + part * step // 4 + (number == errno.EIO) * 5, len(made), step):
        tuner = race(tmp_path / str(at))
        run, error = tuner.run_folder, None
        with refused_once(at, number):
            try:
                tuner.run()
            except HPO4DLError as told:
                error, errors = told, errors + 1
        before = recorded(run)
        if error is None or part % 2:
            tuner = Tuner.resume(run, Quadratic(), progress=False)
        tuner.run()
        after = recorded(run)
        assert {key: after[key] for key in before} == before
        if not any(event['failed'] for event in events_of(run, 'result')):
            assert after == expected, (at, made[at - 1])
        replay(run)
        assert (run / 'best_trial' / 'epochs').is_file()
    assert errors > 0


def test_a_step_that_never_came_into_the_journal_is_asked_for_again(tmp_path: Path) -> None:
    """The optimizer had decided on it: the same tuner begins anew, even where nothing was recorded at all."""
    tuner, whole = race(tmp_path / 'one'), race(tmp_path / 'whole')
    whole.run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner._session._journal, 'append', refuse)
        with pytest.raises(StorageError):
            tuner.run()
    tuner.run()
    assert recorded(tuner.run_folder) == recorded(whole.run_folder)
    replay(tuner.run_folder)


def refuse(*arguments, **keywords) -> None:
    raise OSError(errno.EIO, 'Input/output error')
