"""The folders of checkpoints: what each step leaves on the disk, in both modes, and what a kill may leave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from hpo4dl import StorageError, Trial
from hpo4dl.execution.worker import run_attempt
from hpo4dl.records import checkpoints as module
from hpo4dl.records.checkpoints import Checkpoints, Mode, ours, remove_at_once
from hpo4dl.records.identity import MARK


@pytest.fixture(params=[True, False], ids=['exchanges', 'renames'])
def either_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can exchange two folders, and one that cannot."""
    if not request.param:
        monkeypatch.setattr(module, 'swap', lambda one, other: False)


def made(tmp_path: Path, keep: str = 'alive', mode: str = 'copy') -> Checkpoints:
    (tmp_path / 'checkpoints').mkdir()
    return Checkpoints(tmp_path / 'checkpoints', tmp_path / 'best_trial', keep, mode)


def write(folder: Path, text: str = 'weights') -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'weights').write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*') if path.is_file()}


def work(checkpoints: Checkpoints, number: int, older: int | None, trial_id: int = 3, text: str | None = None) -> None:
    """What a worker does."""
    attempt = checkpoints.begin(number, Trial(trial_id, {}, 0, 1), older)
    write(Path(attempt.folder), text or f'of attempt {number}')
    Path(attempt.started_file).touch()


def test_an_attempt_from_scratch_has_a_folder_of_its_own_that_the_worker_makes(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    trial = Trial(3, {'x': 1}, 0, 2)
    stale = write(tmp_path / 'checkpoints' / 'trial_3' / 'attempt_7')
    attempt = checkpoints.begin(7, trial, None)
    folder = tmp_path / 'checkpoints' / 'trial_3'
    assert (attempt.number, attempt.trial, attempt.source) == (7, trial, None)
    assert Path(attempt.folder) == folder / 'attempt_7'
    assert Path(attempt.started_file).parent == folder
    assert not stale.exists()
    assert not Path(attempt.started_file).exists()


def test_an_attempt_that_goes_on_starts_as_a_copy_of_the_older_one(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    older = write(tmp_path / 'checkpoints' / 'trial_3' / 'attempt_2')
    attempt = checkpoints.begin(7, Trial(3, {}, 1, 2), 2)
    assert attempt.source == str(older)
    assert attempt.folder == str(older.with_name('attempt_7'))
    assert tree(older) == {'weights': 'weights'}


def test_in_place_all_attempts_work_in_one_folder(tmp_path: Path) -> None:
    checkpoints = made(tmp_path, mode='in-place')
    folder = write(tmp_path / 'checkpoints' / 'trial_3' / 'in_place')
    attempt = checkpoints.begin(7, Trial(3, {}, 1, 2), 2)
    assert attempt.folder == attempt.source == str(folder)
    assert folder.exists()
    attempt = checkpoints.begin(8, Trial(3, {}, 0, 2), None)
    assert (attempt.folder, attempt.source) == (str(folder), None)
    assert not folder.exists()  # it starts anew


@pytest.mark.parametrize('mode', get_args(Mode))
def test_what_is_adopted_is_all_that_stays(tmp_path: Path, mode: str) -> None:
    checkpoints = made(tmp_path, mode=mode)
    work(checkpoints, 0, None)
    checkpoints.adopt(3, 0, None)
    name = 'in_place' if mode == 'in-place' else 'attempt_0'
    assert tree(checkpoints.folder) == {f'trial_3/{name}/weights': 'of attempt 0'}
    work(checkpoints, 1, 0)
    checkpoints.adopt(3, 1, 0)
    name = 'in_place' if mode == 'in-place' else 'attempt_1'
    assert tree(checkpoints.folder) == {f'trial_3/{name}/weights': 'of attempt 1'}
    assert checkpoints.has(3, 1)
    assert checkpoints.has(3, 0) == (mode == 'in-place')
    assert not checkpoints.has(4, 1)


@pytest.mark.parametrize('mode', get_args(Mode))
def test_what_is_discarded_leaves_the_older_one(tmp_path: Path, mode: str) -> None:
    checkpoints = made(tmp_path, mode=mode)
    work(checkpoints, 0, None)
    checkpoints.adopt(3, 0, None)
    work(checkpoints, 1, 0)
    checkpoints.discard(3, 1, 0)
    in_place = {'trial_3/in_place/weights': 'of attempt 1'}  # the objective function must bear it
    expected = in_place if mode == 'in-place' else {'trial_3/attempt_0/weights': 'of attempt 0'}
    assert tree(checkpoints.folder) == expected
    assert checkpoints.has(3, 0)


@pytest.mark.parametrize('mode', get_args(Mode))
def test_what_is_discarded_with_no_older_one_leaves_nothing(tmp_path: Path, mode: str) -> None:
    checkpoints = made(tmp_path, mode=mode)
    work(checkpoints, 0, None)
    work(checkpoints, 9, None, trial_id=4)
    checkpoints.discard(3, 0, None)
    assert set(tree(checkpoints.folder)) == {
        f'trial_4/{"in_place" if mode == "in-place" else "attempt_9"}/weights',
        'trial_4/began_9',
    }


def test_what_is_dropped_is_gone_under_its_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = made(tmp_path)
    work(checkpoints, 0, None)
    work(checkpoints, 1, None, trial_id=30)
    seen = []
    monkeypatch.setattr(module, 'remove_tree', lambda path: seen.append((path.name, tree(checkpoints.folder))))
    checkpoints.drop(3)
    others = {'trial_30/attempt_1/weights': 'of attempt 1', 'trial_30/began_1': ''}
    assert {name for name, _ in seen} == {'removed_3'}
    gone = {'removed_3/weights': 'of attempt 0', **others}
    assert any(gone.items() <= files.items() and 'trial_3/attempt_0/weights' not in files for _, files in seen)
    checkpoints.drop(5)  # there is none
    monkeypatch.undo()
    checkpoints.restore({30: 1})
    assert tree(checkpoints.folder) == {'trial_30/attempt_1/weights': 'of attempt 1'}


def test_to_remove_at_once_over_what_an_earlier_kill_left(tmp_path: Path) -> None:
    write(tmp_path / 'removed_1' / 'deep')
    write(tmp_path / 'trial_1')
    remove_at_once(tmp_path / 'trial_1', tmp_path / 'removed_1')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('either_file_system')
def test_publish_replaces_the_best_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    for number, text in enumerate(['one', 'twice as long', 'three']):
        work(checkpoints, number, None, trial_id=number, text=text)
        checkpoints.publish(number, number)
        assert tree(checkpoints.best) == {'weights': text}
        assert checkpoints.best_size == len(text)
        assert {path.name for path in tmp_path.iterdir()} == {'checkpoints', 'best_trial'}
        assert checkpoints.has(number, number)  # it is a copy


@pytest.mark.usefixtures('either_file_system')
def test_publish_replaces_a_link_and_writes_nothing_where_it_leads(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    work(checkpoints, 0, None)
    elsewhere = write(tmp_path / 'elsewhere', 'not ours')
    for target in (elsewhere, tmp_path / 'nowhere'):
        if checkpoints.best.exists():
            checkpoints.best.rename(tmp_path / 'earlier')
        checkpoints.best.symlink_to(target)
        checkpoints.publish(3, 0)
        assert not checkpoints.best.is_symlink()
        assert tree(checkpoints.best) == {'weights': 'of attempt 0'}
        assert tree(elsewhere) == {'weights': 'not ours'}
        assert not (tmp_path / 'nowhere').exists()


def test_a_publish_that_fails_leaves_the_best_as_it_was(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    work(checkpoints, 0, None)
    checkpoints.publish(3, 0)
    with pytest.raises(StorageError, match='best_trial: cannot be written'):
        checkpoints.publish(4, 0)  # there is no such folder
    assert tree(checkpoints.best) == {'weights': 'of attempt 0'}


class Killed(BaseException):
    pass


@pytest.mark.parametrize('exchanges', [True, False])
@pytest.mark.parametrize('instant', range(6))
def test_a_publish_that_is_killed_leaves_the_old_or_the_new_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool, instant: int
) -> None:
    """Killed before the first, second, ... of its steps on the disk; then the run is taken up."""
    checkpoints = made(tmp_path)
    work(checkpoints, 0, None, trial_id=0, text='old')
    checkpoints.publish(0, 0)
    work(checkpoints, 1, None, trial_id=1, text='newer')
    steps = 0

    def killing(act):
        def wrapped(*arguments):
            nonlocal steps
            steps += 1
            if steps > instant:
                raise Killed
            return act(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(module, 'swap', killing(module.swap) if exchanges else lambda one, other: False)
        patch.setattr(module.os, 'rename', killing(os.rename))
        for name in ('remove_tree', 'copy_tree', 'sync_folder'):
            patch.setattr(module, name, killing(getattr(module, name)))
        try:
            checkpoints.publish(1, 1)
        except Killed:
            pass
        else:
            assert steps <= instant
    taken_up = Checkpoints(checkpoints.folder, checkpoints.best, 'alive', 'copy')
    taken_up.restore({0: 0, 1: 1})
    assert tree(taken_up.best) in ({'weights': 'old'}, {'weights': 'newer'})
    assert taken_up.best_size == sum(map(len, tree(taken_up.best).values()))
    assert {path.name for path in tmp_path.iterdir()} == {'checkpoints', 'best_trial'}


@pytest.mark.parametrize('mode', get_args(Mode))
def test_restore_keeps_what_is_acknowledged_and_nothing_else_of_ours(tmp_path: Path, mode: str) -> None:
    checkpoints = made(tmp_path, mode=mode)
    folder = checkpoints.folder
    names = (
        ['trial_0/in_place', 'trial_2/in_place'] if mode == 'in-place' else ['trial_0/attempt_4', 'trial_2/attempt_9']
    )
    for name in names:
        write(folder / name)
    for name in (
        'trial_0/attempt_3',
        'trial_0/attempt_5',
        'trial_1/attempt_6',
        'trial_1/in_place',
        'removed_8/attempt_1',
    ):
        write(folder / name)
    (folder / 'trial_0' / 'began_4').touch()
    checkpoints.restore({0: 4, 2: 9, 5: 1})
    assert set(tree(folder)) == {f'{name}/weights' for name in names}
    assert checkpoints.best_size == 0


def test_restore_puts_the_best_back_that_lay_aside(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    write(tmp_path / '.best_trial.old', 'old')
    write(tmp_path / '.best_trial.new', 'half')
    checkpoints.restore({})
    assert tree(tmp_path) == {'best_trial/weights': 'old'}
    assert checkpoints.best_size == 3


def test_restore_follows_no_links(tmp_path: Path) -> None:
    checkpoints = made(tmp_path)
    outside = write(tmp_path / 'outside', 'not ours')
    write(outside / 'attempt_1')
    checkpoints.folder.joinpath('trial_0').symlink_to(outside)
    checkpoints.folder.joinpath('removed_0').symlink_to(outside)
    (checkpoints.folder / 'trial_1').mkdir()
    checkpoints.folder.joinpath('trial_1', 'attempt_2').symlink_to(outside)
    assert not checkpoints.has(0, 1)
    assert not checkpoints.has(1, 2)
    checkpoints.restore({0: 1, 1: 2})
    assert tree(outside) == {'weights': 'not ours', 'attempt_1/weights': 'weights'}
    assert list(checkpoints.folder.rglob('*')) == []


OTHERS = [
    'notes/weights',
    'trial_x/weights',
    'trial_3_backup/attempt_1/weights',
    'my_trial_3/weights',
    'trial_/weights',
    'trial_-1/weights',
    'removed/weights',
    'removed_1.txt/weights',
]


@pytest.mark.parametrize('keep', ['alive', 'best'])
def test_only_names_that_we_make_are_touched(tmp_path: Path, keep: str) -> None:
    checkpoints = made(tmp_path, keep=keep)
    for name in OTHERS:
        write((checkpoints.folder / name).parent, "somebody else's")
    (checkpoints.folder / MARK).write_text('whose')
    work(checkpoints, 1, None)
    write(checkpoints.folder / 'trial_3' / 'attempt_x', "somebody else's")
    checkpoints.restore({3: 1})
    assert set(tree(checkpoints.folder)) == {*OTHERS, MARK, 'trial_3/attempt_1/weights', 'trial_3/attempt_x/weights'}
    checkpoints.drop(3)
    checkpoints.end()
    others = [*OTHERS, 'trial_3/attempt_x/weights']
    assert tree(checkpoints.folder) == {**dict.fromkeys(others, "somebody else's"), MARK: 'whose'}


@pytest.mark.parametrize('keep', ['all', 'alive', 'best'])
def test_at_the_end_all_but_the_best_go_where_that_was_asked(tmp_path: Path, keep: str) -> None:
    checkpoints = made(tmp_path, keep=keep)
    (checkpoints.folder / MARK).write_text('whose')
    work(checkpoints, 0, None, trial_id=0)
    work(checkpoints, 1, None, trial_id=12)
    checkpoints.publish(12, 1)
    before = tree(checkpoints.folder)
    checkpoints.end()
    assert tree(checkpoints.best) == {'weights': 'of attempt 1'}
    if keep == 'best':
        assert not checkpoints.folder.exists()
        checkpoints.end()  # nothing is there
        assert not checkpoints.folder.exists()
    else:
        assert tree(checkpoints.folder) == before


@pytest.mark.parametrize('told', [None, 0, 1, 5])
def test_under_all_nothing_is_unneeded(tmp_path: Path, told: int | None) -> None:
    assert made(tmp_path, keep='all').unneeded({0, 1}, lambda i: False, told) == []


@pytest.mark.parametrize('keep', ['alive', 'best'])
def test_what_is_told_is_looked_at_at_once_and_all_now_and_then(tmp_path: Path, keep: str) -> None:
    checkpoints = made(tmp_path, keep=keep)
    recorded, dead = set(range(200)), {1, 7}
    assert checkpoints.unneeded(recorded, lambda i: i not in dead) == [1, 7]
    recorded -= dead
    dead = {5, 9}
    asked: list[int] = []

    def needed(trial_id: int) -> bool:
        asked.append(trial_id)
        return trial_id not in dead

    assert checkpoints.unneeded(recorded, needed, told=5) == [5]
    assert checkpoints.unneeded(recorded, needed, told=7) == []  # it has none any more
    assert checkpoints.unneeded(recorded, needed, told=8) == []
    assert asked == [5, 8]
    recorded.remove(5)
    found = [trial_id for _ in range(200) for trial_id in checkpoints.unneeded(recorded, needed, told=8)]
    assert 9 in found  # at last, though nobody told of it
    assert len(asked) < 200 * len(recorded) / 2  # but not of all trials at every result


def test_names_of_ours(tmp_path: Path) -> None:
    for name in ('trial_0', 'trial_12', 'trial_a', 'xtrial_1', 'trial_1x', 'removed_1', 'attempt_1', 'in_place'):
        (tmp_path / name).mkdir()
    assert {path.name for path in ours(tmp_path, 'trial')} == {'trial_0', 'trial_12'}
    assert {path.name for path in ours(tmp_path, 'removed')} == {'removed_1'}
    assert {path.name for path in ours(tmp_path, 'attempt')} == {'attempt_1', 'in_place'}
    assert ours(tmp_path / 'gone', 'trial') == []


@pytest.mark.usefixtures('either_file_system')
def test_what_could_not_be_removed_before_does_not_end_the_race(tmp_path: Path) -> None:
    """A leftover of an older incumbent's copy goes before the next one is exchanged."""
    checkpoints = made(tmp_path)
    for number in range(3):
        work(checkpoints, number, number - 1 if number else None)
        write(tmp_path / '.best_trial.old' / 'x')
        checkpoints.publish(3, number)
        assert tree(tmp_path / 'best_trial') == {'weights': f'of attempt {number}'}
    assert not (tmp_path / '.best_trial.old').exists()


def test_a_call_that_is_made_again_after_its_outcome_came_touches_nothing(tmp_path: Path) -> None:
    """As Dask does, when a worker dies that holds a finished call."""
    checkpoints = made(tmp_path)

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        file = Path(checkpoint_path) / 'weights'
        assert (file.read_text() if file.exists() else '') == f'of epoch {previous_epoch}' * (previous_epoch > 0)
        file.write_text(f'of epoch {epoch}')
        return {'epoch': epoch, 'metric': 0.5}

    older = None
    for number in range(3):
        attempt = checkpoints.begin(number, Trial(3, {}, number, number + 1), older)
        outcome = run_attempt(objective, attempt)
        assert outcome.failed is None
        early = run_attempt(objective, attempt)  # once more before its outcome is recorded
        checkpoints.accept(3, number, outcome.folder or '')
        checkpoints.adopt(3, number, older)
        late = run_attempt(objective, attempt)  # and once more after
        assert early.failed is None
        assert late.storage is not None or older is None  # what it goes on from is gone
        assert tree(checkpoints.folder / 'trial_3' / f'attempt_{number}') == {'weights': f'of epoch {number + 1}'}
        older = number
    checkpoints.restore({3: 2})
    assert tree(checkpoints.folder) == {'trial_3/attempt_2/weights': 'of epoch 3'}
