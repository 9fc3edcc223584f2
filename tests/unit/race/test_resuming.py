"""Taking up a run: the journal is followed, the folder of checkpoints claimed, and the disk made to agree."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fakes import OurLock, ScriptedOptimizer

from hpo4dl import JournalError, StorageError, Trial
from hpo4dl.analysis.salvage import salvage_journal
from hpo4dl.race.resuming import claim_checkpoints, follow_journal
from hpo4dl.race.storage import Storage
from hpo4dl.records.checkpoints import Checkpoints
from hpo4dl.records.disk_quota import DiskQuota
from hpo4dl.records.identity import MARK, Identity, make_marked, read_identity
from hpo4dl.records.journal import SCHEMA, Journal, encode_line
from hpo4dl.records.state import Checkpoint, Observation, RunState

RUN = {'event': 'run', 'schema': SCHEMA, 'run': 'r', 'time': 0.0}


def start(trial: int, attempt: int, before: int, epoch: int, **more: Any) -> dict[str, Any]:
    known = {'configuration': {'x': trial}} if before == 0 else {}
    numbers = {'trial': trial, 'attempt': attempt, 'previous_epoch': before, 'epoch': epoch, 'time': 1.0}
    return {'event': 'start', **numbers, **known, **more}


def result(trial: int, attempt: int, metrics: dict[int, float], failed: str | None = None) -> dict[str, Any]:
    epochs = [{'epoch': epoch, 'metric': metric, 'info': {}} for epoch, metric in metrics.items()]
    rest = {'failed': failed, 'traceback': None, 'seconds': 1.0, 'overhead': 0.0, 'size': 7, 'time': 2.0}
    return {'event': 'result', 'trial': trial, 'attempt': attempt, 'epochs': epochs, **rest}


def written(folder: Path, *events: dict[str, Any]) -> Journal:
    journal = Journal(folder)
    journal.path.write_bytes(b''.join(map(encode_line, events)))
    return journal


# The journal


def test_the_optimizer_is_told_what_it_decided_and_what_came_of_it(tmp_path: Path) -> None:
    lost = {'event': 'lost', 'trial': 1, 'attempt': 1, 'reason': 'x', 'counts': True, 'time': 1.5}
    evict = {'event': 'evict', 'trial': 0, 'reason': 'max_disk', 'time': 2.0}
    journal = written(
        tmp_path,
        RUN,
        start(0, 0, 0, 2),
        start(1, 1, 0, 1),
        result(0, 0, {1: 0.5, 2: 0.25}),
        lost,
        start(1, 2, 0, 1),
        result(1, 2, {}, 'crash'),
        evict,
        start(0, 3, 0, 3, acknowledged=2, wanted=9),
    )
    state, optimizer = RunState(minimize=True), ScriptedOptimizer([])
    follow_journal(journal, state, optimizer, OurLock())
    assert optimizer.log == [
        ('replay', Trial(0, {'x': 0}, 0, 2)),
        ('replay', Trial(1, {'x': 1}, 0, 1)),
        ('tell', Trial(0, {'x': 0}, 0, 2), {1: 0.5, 2: 0.25}, None),
        ('tell', Trial(1, {'x': 1}, 0, 1), {}, 'crash'),  # the call that was made again is no second decision
        ('replay', Trial(0, {'x': 0}, 2, 9)),  # as it was wanted: neither evicted nor cut
    ]
    assert set(state.running) == {0}
    assert (state.epochs_spent, state.attempts) == (3, 4)


def test_a_torn_end_is_cut_off_before_anything_is_followed(tmp_path: Path) -> None:
    journal = written(tmp_path, RUN, start(0, 0, 0, 1), result(0, 0, {1: 0.5}))
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-5])
    state, optimizer = RunState(minimize=True), ScriptedOptimizer([])
    follow_journal(journal, state, optimizer, OurLock())
    assert [entry[0] for entry in optimizer.log] == ['replay']
    assert list(state.running) == [0]
    assert journal.path.read_bytes() == b''.join(whole.splitlines(keepends=True)[:2])


def test_a_damaged_journal_is_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    journal = written(
        tmp_path, RUN, start(0, 0, 0, 1), result(0, 0, {1: 0.5}), start(1, 1, 0, 1), result(1, 1, {1: 1.0})
    )
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'0.5', b'0.4')
    journal.path.write_bytes(b''.join(lines))
    with pytest.raises(JournalError, match='line 3: damaged'):
        follow_journal(journal, RunState(minimize=True), ScriptedOptimizer([]), OurLock())
    assert journal.path.read_bytes() == b''.join(lines)
    state = RunState(minimize=True)
    salvage_journal(journal)
    follow_journal(journal, state, ScriptedOptimizer([]), OurLock())
    assert state.salvaged
    assert state.trials[1].metrics == {1: 1.0}
    assert state.epochs_spent == 1


def test_what_does_not_fit_names_the_file_and_the_line(tmp_path: Path) -> None:
    journal = written(tmp_path, RUN, result(0, 0, {1: 0.5}))
    with pytest.raises(JournalError, match=r'journal\.jsonl, line 2: does not fit'):
        follow_journal(journal, RunState(minimize=True), ScriptedOptimizer([]), OurLock())


# The folder of checkpoints


def run_in(folder: Path, identity: Identity | None) -> Path:
    folder.mkdir(parents=True)
    known = {} if identity is None else {'identity': asdict(identity)}
    (folder / 'settings.json').write_text(json.dumps({'settings': {}, **known}))
    return folder


def test_a_run_claims_its_own_folder(tmp_path: Path) -> None:
    identity = Identity.new('r')
    run = run_in(tmp_path / 'run', identity)
    for storage in (None, str(tmp_path / 'disk')):
        make_marked(identity.checkpoint_folder(run, storage), identity, run)
        assert claim_checkpoints(run, identity, storage, salvage=False) == identity
    assert read_identity(run) == identity


def test_a_run_of_an_hpo4dl_that_gave_it_no_identity_gets_one(tmp_path: Path) -> None:
    identity = Identity.new('r')
    run = run_in(tmp_path / 'run', None)
    (run / 'checkpoints').mkdir()
    assert claim_checkpoints(run, identity, None, salvage=False) == identity
    assert read_identity(run) == identity
    assert (run / 'checkpoints' / MARK).read_text().splitlines()[0] == identity.run
    elsewhere = run_in(tmp_path / 'other', None)
    (tmp_path / 'disk' / 'r').mkdir(parents=True)  # outside of the run, only its mark says whose it is
    with pytest.raises(StorageError, match='has no mark of a run'):
        claim_checkpoints(elsewhere, identity, str(tmp_path / 'disk'), salvage=False)
    assert list((tmp_path / 'disk' / 'r').iterdir()) == []


def test_a_copy_does_not_take_the_originals_checkpoints(tmp_path: Path) -> None:
    identity = Identity.new('r')
    original, copy = run_in(tmp_path / 'run', identity), run_in(tmp_path / 'copy', identity)
    storage = str(tmp_path / 'disk')
    make_marked(tmp_path / 'disk' / 'r', identity, original)
    with pytest.raises(StorageError, match=f'a copy of {original}'):
        claim_checkpoints(copy, identity, storage, salvage=False)
    assert read_identity(copy) == identity
    fresh = claim_checkpoints(copy, identity, storage, salvage=True)
    assert fresh.run != identity.run
    assert fresh.name != identity.name
    assert read_identity(copy) == fresh
    assert not fresh.checkpoint_folder(copy, storage).exists()
    assert (tmp_path / 'disk' / 'r' / MARK).read_text().splitlines() == [identity.run, str(original)]
    assert claim_checkpoints(original, identity, storage, salvage=False) == identity
    assert claim_checkpoints(copy, fresh, storage, salvage=False) == fresh


# The disk


class Part:
    """A storage whose recorder and optimizer this is."""

    def __init__(self, tmp_path: Path, keep: str = 'alive', mode: str = 'copy') -> None:
        self.run = tmp_path
        self.state = RunState(minimize=True)
        self.checkpoints = Checkpoints(tmp_path / 'checkpoints', tmp_path / 'best_trial', keep, mode)
        self.dead: set[int] = set()
        self.evicted: list[tuple[int, str]] = []

    def is_alive(self, trial_id: int) -> bool:
        return trial_id not in self.dead

    def evict(self, trial_id: int, reason: str) -> None:
        self.evicted.append((trial_id, reason))
        del self.state.checkpoints[trial_id]

    def stored(self, trial_id: int, attempt: int, on_disk: bool = True) -> None:
        self.state.checkpoints[trial_id] = Checkpoint(attempt, 7)
        if on_disk:
            folder = self.checkpoints.folder / f'trial_{trial_id}' / f'attempt_{attempt}'
            folder.mkdir(parents=True)
            (folder / 'weights').write_text(f'attempt {attempt}')

    def restore(self, goes_on: bool = True, salvage: bool = False) -> None:
        Storage(self.checkpoints, DiskQuota(None), self, self).take_up(goes_on, salvage)

    @property
    def names(self) -> set[str]:
        return {str(path.relative_to(self.run)) for path in self.run.glob('checkpoints/trial_*/*')}


def test_what_is_acknowledged_is_kept_and_the_rest_removed(tmp_path: Path) -> None:
    part = Part(tmp_path)
    part.stored(0, 3)
    part.stored(1, 2)
    part.stored(0, 4)  # the journal's last word
    part.stored(5, 6)
    del part.state.checkpoints[5]
    part.stored(7, 8)
    part.dead = {7}
    part.restore()
    assert part.names == {'checkpoints/trial_0/attempt_4', 'checkpoints/trial_1/attempt_2'}
    assert set(part.state.checkpoints) == {0, 1}


def test_checkpoints_that_are_missing_stop_the_race_before_anything_is_removed(tmp_path: Path) -> None:
    part = Part(tmp_path)
    part.stored(0, 3)
    part.stored(1, 2, on_disk=False)
    (tmp_path / 'checkpoints' / 'trial_0' / 'attempt_9').mkdir()
    with pytest.raises(StorageError, match=r'the checkpoints of trials \[1\] are gone'):
        part.restore()
    assert part.names == {'checkpoints/trial_0/attempt_3', 'checkpoints/trial_0/attempt_9'}


def test_checkpoints_that_are_missing_are_trained_again_where_that_is_asked_for(tmp_path: Path) -> None:
    part = Part(tmp_path)
    part.stored(0, 3)
    part.stored(1, 2, on_disk=False)
    part.restore(salvage=True)
    assert part.evicted == [(1, 'its checkpoint is gone')]
    assert part.names == {'checkpoints/trial_0/attempt_3'}


@pytest.mark.parametrize(('keep', 'misses'), [('alive', False), ('best', False), ('all', True)])
def test_what_nobody_asks_for_again_may_be_missing(tmp_path: Path, keep: str, misses: bool) -> None:
    part = Part(tmp_path, keep)
    part.stored(1, 2, on_disk=False)
    part.dead = {1}
    if misses:
        with pytest.raises(StorageError):
            part.restore()
    else:
        part.restore()


def test_a_run_that_has_ended_needs_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    part = Part(tmp_path, 'best')
    part.stored(1, 2, on_disk=False)
    part.restore(goes_on=False)
    assert part.evicted == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('attempt', 'is_published'), [(3, True), (4, False)])
def test_the_incumbents_copy_is_made_where_a_kill_prevented_it(
    tmp_path: Path, attempt: int, is_published: bool
) -> None:
    """Not where the trial went on since: then the copy was made before."""
    part = Part(tmp_path)
    part.state.incumbent = Observation(0, 1, 0.5, {}, 1, 0.0, 0.0, 0.0)
    part.state.incumbent_attempt = 3
    part.stored(0, attempt)
    part.restore()
    assert (tmp_path / 'best_trial' / 'weights').exists() == is_published
    if is_published:
        assert (tmp_path / 'best_trial' / 'weights').read_text() == 'attempt 3'


def test_in_place_what_went_on_since_is_no_copy_of_the_incumbent(tmp_path: Path) -> None:
    part = Part(tmp_path, mode='in-place')
    part.state.incumbent = Observation(0, 1, 0.5, {}, 1, 0.0, 0.0, 0.0)
    part.state.incumbent_attempt = 3
    part.state.checkpoints[0] = Checkpoint(4, 7)
    (tmp_path / 'checkpoints' / 'trial_0' / 'in_place').mkdir(parents=True)
    part.restore()
    assert not (tmp_path / 'best_trial').exists()


def test_an_incumbent_whose_checkpoint_is_gone_keeps_the_copy_that_is_there(tmp_path: Path) -> None:
    part = Part(tmp_path, 'best')
    (tmp_path / 'best_trial').mkdir()
    (tmp_path / 'best_trial' / 'weights').write_text('best')
    part.state.incumbent, part.state.incumbent_attempt = Observation(0, 1, 0.5, {}, 1, 0.0, 0.0, 0.0), 3
    part.stored(0, 3, on_disk=False)
    part.restore(goes_on=False)
    assert (tmp_path / 'best_trial' / 'weights').read_text() == 'best'
    assert part.checkpoints.best_size == 4
