"""Who is told of a race may be gone: a closed terminal, a callback that raises. The race goes on, and ends well."""

from __future__ import annotations

import errno
import io
import logging
import sys
from pathlib import Path

import pytest
from fakes import Clock

from hpo4dl import Trial, progress
from hpo4dl.observers import Observers
from hpo4dl.race.stopping import Deadline
from hpo4dl.records.state import RunState


class Hangup(io.StringIO):
    """A terminal whose other end was closed."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, 'Input/output error')
        return super().write(text)


def tell(observers: Observers) -> None:
    deadline = Deadline(None, float('inf'), Clock())
    observers.tell(Trial(0, {}, 0, 1), {1: 0.5}, None, RunState(minimize=True, epochs_spent=1), 0, deadline)


@pytest.mark.parametrize('stream', ['hangup', 'closed'])
def test_a_terminal_that_goes_away_ends_no_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stream: str
) -> None:
    terminal = Hangup()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setattr('hpo4dl.observers.progress_display', progress.Line)
    told = []
    observers = Observers([told.append], True, 9)
    tell(observers)
    assert 'trial 0' in terminal.getvalue()
    if stream == 'closed':
        terminal.close()
    terminal.gone = True
    with caplog.at_level(logging.CRITICAL + 1, logger='hpo4dl'):
        tell(observers)
        observers.close()
        observers.summarize(tmp_path)
    assert len(told) == 2


def test_a_callback_that_raises_is_logged_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told = []

    def broken(event: progress.Event) -> None:
        event.metrics.clear()
        raise RuntimeError('on purpose')

    observers = Observers([broken, told.append], False, 9)
    with caplog.at_level(logging.WARNING, logger='hpo4dl'):
        tell(observers)
    assert 'on purpose' in caplog.text
    assert told[0].metrics == {1: 0.5}
