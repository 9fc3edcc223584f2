"""A tuner stalls in any operation on a file, another one takes its run over, and then the first one wakes up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from objectives import Quadratic
from races import tune
from runs import content, events_of, results_of

from hpo4dl import HPO4DLError, RunLockedError, StorageError, Tuner, replay
from hpo4dl.records import checkpoints, journal, lock

STEP = 17
"""Every so many operations one is tried; with 1, all: some minutes."""
OPERATIONS = ('open', 'write', 'fsync', 'rename', 'replace', 'mkdir', 'unlink', 'rmdir', 'link', 'ftruncate')


@contextlib.contextmanager
def stalling(at: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Count the operations on files; just before the `at`-th one, `act`."""
    count = [0]
    places = [(os, name) for name in OPERATIONS] + [(checkpoints, 'swap'), (journal, 'swap')]
    original = [(module, name, getattr(module, name)) for module, name in places]

    def wrapped(function):
        def operation(*arguments, **keywords):
            if at < 0 or count[0] < at:  # those of `act`, and after it, do not count
                count[0] += 1
                if count[0] == at:
                    act()
            return function(*arguments, **keywords)

        return operation

    for module, name, function in original:
        setattr(module, name, wrapped(function))
    try:
        yield count
    finally:  # not before: Python 3.13's rmtree looks in its middle whether os.rmdir is still the same
        for module, name, function in original:
            setattr(module, name, function)


def race(folder: Path, keep: str, resumes: bool, at: int, act: Callable[[Path], None]) -> tuple[int, Exception | None]:
    """A run, or its second part, that stalls at its `at`-th operation; its operations, and how it ended."""
    arguments = {'max_epochs': 9, 'max_budget': 14, 'keep_checkpoints': keep}
    tuner = tune(folder, Quadratic(), **arguments)
    if resumes:
        with contextlib.suppress(KeyboardInterrupt):
            tuner._session.workers.objective_function = Quadratic(dies_at=5)
            tuner.run()
        tuner = Tuner.resume(tuner.run_folder, Quadratic(), progress=False)
    with stalling(at, lambda: act(tuner.run_folder)) as count:
        try:
            tuner.run()
        except HPO4DLError as error:
            return count[0], error
        except OSError as error:
            raise AssertionError('no error of ours') from error
    return count[0], None


def whole(run: Path) -> None:
    """What was acknowledged is there, and trained on from there; the incumbent's copy is the incumbent's."""
    seen = results_of(run)
    assert len(seen) == len({(trial, epoch) for trial, epoch, _ in seen})
    best = min(seen, key=lambda entry: entry[2])
    reached = int((run / 'best_trial' / 'epochs').read_text())
    assert (best[0], reached) in {(trial, epoch) for trial, epoch, _ in seen}
    step = next(e for e in events_of(run, 'result') if e['trial'] == best[0] and best[1:] in told(e))
    assert reached == step['epochs'][-1]['epoch']
    replay(run)


def told(event: dict) -> list[tuple[int, float]]:
    return [(entry['epoch'], entry['metric']) for entry in event['epochs']]


@pytest.mark.parametrize('keep', ['alive', 'best'])
@pytest.mark.parametrize('resumes', [False, True])
def test_who_was_taken_over_harms_nothing_wherever_it_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, resumes: bool
) -> None:
    monkeypatch.setattr(lock, 'SETTLING', 0.0)
    operations, ended = race(tmp_path / 'whole', keep, resumes, -1, lambda run: None)
    assert ended is None
    fenced = 0
    for at in range(1 + STEP // 2 * (keep == 'best'), operations, STEP):
        left: dict[str, str] = {}

        def take_over(run: Path, left: dict[str, str] = left) -> None:
            """To a larger budget, so that checkpoints stay that the first one knows nothing of."""
            Tuner.resume(run, Quadratic(), max_budget=30, progress=False, take_over=True).run()
            left.update(content(run))

        where = f'operation {at}'
        _, ended = race(tmp_path / str(at), keep, resumes, at, take_over)
        (run,) = (tmp_path / str(at)).iterdir()
        after = {name: digest for name, digest in content(run).items() if not name.endswith('results.csv')}
        if ended is not None:
            fenced += 1
            assert isinstance(ended, (RunLockedError, StorageError)), where
            assert after.items() >= {k: v for k, v in left.items() if not k.endswith('results.csv')}.items(), where
        whole(run)
        Tuner.resume(run, Quadratic(), max_budget=40, progress=False, salvage=keep == 'best').run()
        whole(run)
        assert sum(len(e['epochs']) for e in events_of(run, 'result')) >= 30, where
    assert fenced > operations // STEP // 2
