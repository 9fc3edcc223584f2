"""The recorder: the lock first, then the disk, then the state; and what it writes is what a journal is read as."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo4dl import RunLockedError, StorageError, Trial
from hpo4dl.records.events import Event
from hpo4dl.records.journal import SCHEMA, Journal
from hpo4dl.records.lock import Lock
from hpo4dl.records.recorder import Recorder
from hpo4dl.records.state import Change, RunState
from hpo4dl.trial import Outcome


class Spy:
    """Lock, journal and state in one, which remember what is asked of them; one of them refuses."""

    def __init__(self, refuses: str | None = None, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.events: list[tuple[Event, bool]] = []
        self.attempts = 4
        self.running: dict[int, Any] = {1: 'step'}
        self._refuses = refuses
        self._error = error

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._refuses and self._error is not None:
            raise self._error

    def check(self) -> None:
        self._called('check')

    def append(self, event: Event, sync: bool = True) -> Event:
        self._called('append')
        self.events.append((event, sync))
        return {**event, 'time': 12.0}

    def apply(self, event: Event) -> Change:
        self._called('apply')
        assert event['time'] == 12.0  # as it was written
        return Change()


def spied(refuses: str | None = None, error: Exception | None = None) -> tuple[Spy, Recorder]:
    spy = Spy(refuses, error)
    return spy, Recorder(spy, spy, spy, dict)


def step_of(wanted: Trial, epoch: int, starts_at: int) -> Event:
    spy, recorder = spied()
    recorder.start(wanted, epoch, starts_at)
    ((event, sync),) = spy.events
    assert not sync  # it need not be on the disk before its result is
    return event


def test_the_lock_is_checked_before_and_after_the_line_is_written_then_the_state_takes_it() -> None:
    spy, recorder = spied()
    recorder.evict(3, 'max_disk')
    assert spy.calls == ['check', 'append', 'check', 'apply']
    assert spy.events == [({'event': 'evict', 'trial': 3, 'reason': 'max_disk'}, True)]


@pytest.mark.parametrize(
    ('refuses', 'error', 'calls'),
    [('check', RunLockedError('taken'), ['check']), ('append', StorageError('full'), ['check', 'append'])],
)
def test_after_a_refusal_nothing_more_is_done(refuses: str, error: Exception, calls: list[str]) -> None:
    for act in (
        lambda recorder: recorder.evict(3, 'why'),
        lambda recorder: recorder.stop('why', 0.0),
        lambda recorder: recorder.start(Trial(1, {}, 0, 1), 1, 0),
    ):
        spy, recorder = spied(refuses, error)
        with pytest.raises(type(error)):
            act(recorder)
        assert spy.calls == calls


def test_a_start_from_scratch_carries_configuration_and_point() -> None:
    wanted = Trial(1, {'x': 2}, 0, 3, np.array([0.25, math.nan]))
    numbers = {'event': 'start', 'attempt': 4, 'trial': 1, 'previous_epoch': 0, 'epoch': 3}
    assert step_of(wanted, 3, 0) == {**numbers, 'configuration': {'x': 2}, 'point': [0.25, None]}
    assert step_of(Trial(1, {'x': 2}, 0, 3), 3, 0) == {**numbers, 'configuration': {'x': 2}}


def test_a_start_that_goes_on_carries_numbers_alone() -> None:
    numbers = {'event': 'start', 'attempt': 4, 'trial': 1, 'previous_epoch': 2, 'epoch': 3}
    assert step_of(Trial(1, {'x': 2}, 2, 3, np.array([0.5])), 3, 2) == numbers


def test_a_start_that_was_cut_or_begins_again_says_so() -> None:
    event = step_of(Trial(1, {'x': 2}, 2, 9), 5, 0)
    assert (event['epoch'], event['wanted'], event['previous_epoch'], event['acknowledged']) == (5, 9, 0, 2)


def test_the_gain_is_written_where_it_is_known() -> None:
    for gain, known in ((0.5, {'expected_gain': 0.5}), (math.inf, {})):
        spy, recorder = spied()
        recorder.stop('target', gain)
        assert spy.events == [({'event': 'stop', 'reason': 'target', **known}, True)]


def recording(folder: Path) -> tuple[Journal, Lock, Recorder]:
    journal, lock = Journal(folder), Lock(folder)
    journal.begin({'event': 'run', 'schema': SCHEMA, 'run': 'r'})
    return journal, lock, Recorder(journal, lock, RunState(minimize=True), dict)


def read_again(journal: Journal) -> RunState:
    state = RunState(minimize=True)
    list(state.follow(journal))
    return state


def without_clock(state: RunState) -> dict[str, Any]:
    """All that it knows, but for what depends on the moment of the first line."""
    known = dict(vars(state))
    return {key: repr(value) for key, value in known.items() if key not in ('elapsed', 'trials', 'incumbent')}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    journal, lock, recorder = recording(tmp_path)
    with lock:
        state = recorder.state
        first = recorder.start(Trial(0, {'x': 0.1}, 0, 3, np.array([0.1, math.nan])), 2, 0)
        first.overhead = 0.5
        assert first is state.running[0]
        second = recorder.start(Trial(1, {'x': 0.2}, 0, 1, np.array([0.2, 0.0])), 1, 0)
        outcome = Outcome({1: 0.75, 2: 0.1 + 0.2}, {2: {'lr': [1, None, 'é']}}, seconds=1.25, size=10)
        finished = recorder.result(first, outcome)
        assert finished.step is first
        assert finished.metrics == {1: 0.75, 2: 0.1 + 0.2}
        assert finished.improved
        recorder.lost(second, 'its worker died', blamed=False)
        recorder.start(Trial(1, {'x': 0.2}, 0, 1), 1, 0)
        failed = recorder.result(second, Outcome(failed='crash', traceback='trace', seconds=2.0))
        assert (failed.failed, failed.improved) == ('crash', False)
        recorder.evict(0, 'max_disk')
        third = recorder.start(Trial(0, {'x': 0.1}, 2, 3), 3, 0)
        again = recorder.result(third, Outcome({1: 9.0, 2: 9.0, 3: 0.25}, {1: {}, 3: {'last': True}}))
        assert again.metrics == {3: 0.25}  # those before it are known
        recorder.stop('nothing is left', 0.125)
    read = read_again(journal)
    assert without_clock(read) == without_clock(state)
    assert {i: trial.metrics for i, trial in read.trials.items()} == {0: {1: 0.75, 2: 0.1 + 0.2, 3: 0.25}, 1: {}}
    assert [trial.configuration for trial in read.trials.values()] == [{'x': 0.1}, {'x': 0.2}]
    assert [(trial.failed, trial.traceback) for trial in read.trials.values()] == [(None, None), ('crash', 'trace')]
    np.testing.assert_array_equal(read.trials[0].point, [0.1, math.nan])
    assert read.incumbent_row() == state.incumbent_row()
    assert (read.epochs_spent, read.lost, read.expected_gain) == (2 + 1 + 3, ['its worker died'], 0.125)


def test_a_write_that_is_refused_leaves_state_and_journal_as_they_were(tmp_path: Path) -> None:
    journal, lock, recorder = recording(tmp_path)
    with lock:
        step = recorder.start(Trial(0, {'x': 1}, 0, 1), 1, 0)
        before = repr(recorder.state), journal.path.read_bytes()
        hidden = journal.path.rename(tmp_path / 'elsewhere')
        with pytest.raises(StorageError, match='what was reported before is safe'):
            recorder.result(step, Outcome({1: 0.5}))
        hidden.rename(journal.path)
        assert (repr(recorder.state), journal.path.read_bytes()) == before
        recorder.result(step, Outcome({1: 0.5}))
    assert read_again(journal).trials[0].metrics == {1: 0.5}


def test_a_lock_that_is_lost_leaves_state_and_journal_as_they_were(tmp_path: Path) -> None:
    journal, lock, recorder = recording(tmp_path)
    with lock:
        step = recorder.start(Trial(0, {'x': 1}, 0, 1), 1, 0)
        before = repr(recorder.state), journal.path.read_bytes()
        lock.path.write_text('somebody else')
        with pytest.raises(RunLockedError, match='somebody else'):
            recorder.result(step, Outcome({1: 0.5}))
        lock.path.unlink()
        with pytest.raises(StorageError, match='gone'):
            recorder.result(step, Outcome({1: 0.5}))
        assert (repr(recorder.state), journal.path.read_bytes()) == before
