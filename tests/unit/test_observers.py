"""Who is told of a race may be gone: a closed terminal, a callback that raises. The race goes on, and ends well."""

from __future__ import annotations

import errno
import io
import logging
import sys
from pathlib import Path

import pytest
from fakes import Clock

from hpo4dl import ArgumentError, Event, Trial
from hpo4dl.narration import display
from hpo4dl.observers import Observers
from hpo4dl.periphery import LogLines
from hpo4dl.race.stopping import Deadline
from hpo4dl.records.state import RunState, TrialRecord


class Hangup(io.StringIO):
    """A terminal whose other end was closed."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, 'Input/output error')
        return super().write(text)


def tell(observers: Observers, failed: str | None = None, seconds: float = 0.0) -> None:
    deadline = Deadline(None, float('inf'), Clock())
    deadline.elapsed = lambda: seconds
    state = RunState(minimize=True, epochs_spent=1, trials={0: TrialRecord(0, {})})
    observers.tell(Trial(0, {}, 0, 1), {1: 0.5}, failed, state, 0, deadline)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging as in a program that did not set it up: pytest's handlers hear nothing."""
    monkeypatch.setattr(logging.getLogger('hpo4dl'), 'propagate', False)


@pytest.mark.parametrize('stream', ['hangup', 'closed', 'none'])
def test_a_terminal_that_goes_away_ends_no_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    terminal = Hangup()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setattr('hpo4dl.narration.narrator.progress_display', display.Line)
    told = []
    observers = Observers([told.append], True, 9)
    observers.people.begin(tmp_path, RunState(True), 'metric')
    tell(observers)
    assert 'trial 0' in terminal.getvalue()
    if stream == 'closed':
        terminal.close()
    if stream == 'none':
        monkeypatch.setattr(sys, 'stderr', None)
    terminal.gone = True
    monkeypatch.setattr(logging.getLogger('hpo4dl'), 'disabled', True)
    tell(observers, 'broke')
    observers.people.close()
    observers.people.end(tmp_path, 'how to go on')
    assert len(told) == 2


def test_a_callback_that_raises_is_logged_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told = []

    def broken(event: Event) -> None:
        event.metrics.clear()
        raise RuntimeError('on purpose')

    observers = Observers([broken, told.append], False, 9)
    with caplog.at_level(logging.WARNING, logger='hpo4dl'):
        tell(observers)
    assert 'on purpose' in caplog.text
    assert told[0].metrics == {1: 0.5}


def test_a_log_that_nobody_set_up_has_a_line_now_and_then(
    tmp_path: Path, unset: None, capsys: pytest.CaptureFixture
) -> None:
    observers = Observers([], None, 9)
    observers.people.begin(tmp_path, RunState(True), 'metric')
    for second in range(60):
        tell(observers, seconds=float(second))
    observers.people.close()
    observers.people.end(tmp_path / 'none', 'how to go on')
    first, *lines, last = capsys.readouterr().err.splitlines()
    assert first == f'hpo4dl: the run is in {tmp_path}'
    assert sum(line.startswith('1/9 epochs | trial 0 epoch 1: 0.5') for line in lines) == 10
    assert last == 'how to go on'


def test_failures_are_warnings_when_they_happen(caplog: pytest.LogCaptureFixture) -> None:
    observers = Observers([], None, 9)
    for n in range(12):
        tell(observers, failed=f'ValueError: /data/{n}/x is bad', seconds=n / 10)
    assert caplog.messages == [
        'trial 0 failed on its way to epoch 1: ValueError: .../x is bad',
        '10 trials have failed like trial 0: ValueError: .../x is bad',
    ]


def test_logging_that_is_set_up_has_all_and_stderr_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    observers = Observers([], None, 9)
    with caplog.at_level(logging.INFO, logger='hpo4dl'):
        observers.people.begin(tmp_path, RunState(True), 'metric')
        for second in range(9):
            tell(observers, seconds=float(second))
    assert [record.message.split(' |')[0] for record in caplog.records[1:]] == ['1/9 epochs'] * 9
    assert capsys.readouterr().err == ''


def test_quiet_says_nothing_but_warnings(
    tmp_path: Path, unset: None, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    observers = Observers([], None, 9, quiet=True)
    observers.people.begin(tmp_path, RunState(True), 'metric')
    tell(observers)
    observers.people.close()
    assert caplog.messages == []
    tell(observers, failed='ValueError: no')
    assert caplog.messages == ['trial 0 failed on its way to epoch 1: ValueError: no']
    assert capsys.readouterr().err == ''
    with pytest.raises(ArgumentError, match='progress: got True'):
        Observers([], True, 9, quiet=True)


def test_a_core_copy_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = LogLines()
    state = RunState(True)
    with caplog.at_level(logging.INFO, logger='hpo4dl'):
        lines.begin(tmp_path, state, 'metric')
        lines.result(Event(Trial(3, {}, 0, 1), {}, 'broke', None, 1, 9, 1.0), state)
        lines.close()
        lines.end(tmp_path, 'how to go on')
    assert [record.message for record in caplog.records] == [
        f'the run is in {tmp_path}', 'trial 3 failed: broke', 'how to go on'
    ]  # fmt: skip


def test_no_handler_is_added_anywhere(tmp_path: Path) -> None:
    def handlers() -> dict[str | None, list]:
        names = [None, *(name for name in logging.root.manager.loggerDict if name.startswith('hpo4dl'))]
        return {name: list(logging.getLogger(name).handlers) for name in names}

    before = handlers()
    observers = Observers([], None, 9)
    observers.people.begin(tmp_path, RunState(True), 'metric')
    tell(observers, failed='ValueError: no')
    observers.people.end(tmp_path, 'how to go on')
    assert handlers()[None] == before[None]
    assert not any(found for name, found in handlers().items() if name)
