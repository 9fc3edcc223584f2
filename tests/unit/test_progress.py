"""What the terminal shows while a race goes on."""

from __future__ import annotations

import io
import sys

import pytest

from hpo4dl import Event, Trial
from hpo4dl.progress import Bar, Line, is_watched, progress_display


def event(spent: int, metric: float, budget: int | None = 100, running: int = 3) -> Event:
    incumbent = {'metric': 0.125, 'configuration_id': 7, 'epoch': 3}
    return Event(Trial(9, {}, 4, 5), {5: metric}, None, incumbent, spent, budget, 2.0 * spent, running)


def test_a_line_with_budget_time_left_incumbent_and_what_runs(capsys: pytest.CaptureFixture) -> None:
    line = Line()
    line(event(40, 0.5))
    line.close()
    parts = [part.strip() for part in capsys.readouterr().err.strip('\r\n').split('|')]
    assert parts[:3] == ['40/100 epochs', '2:00 left', 'best 0.125 (trial 7, epoch 3)']


def test_the_bar_counts_epochs_and_forgets_those_of_earlier_runs() -> None:
    tqdm = pytest.importorskip('tqdm')
    made, text = [], io.StringIO()

    def make(**arguments):
        made.append(tqdm.tqdm(**arguments, file=text, mininterval=0, ascii=True))
        return made[0]

    bar = Bar(make)
    for spent in (61, 62, 65):
        bar(event(spent, 0.5))
    assert (made[0].n, made[0].total, made[0].initial) == (65, 100, 60)
    bar.close()
    bar.close()
    last = text.getvalue().split('\r')[-1]
    assert '65/100' in last
    assert 'best 0.125 (trial 7, epoch 3) | trial 9 epoch 5: 0.5 | 3 running' in last


def test_without_tqdm_there_is_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tqdm.auto', None)
    assert isinstance(progress_display(), Line)


def test_with_tqdm_there_is_the_bar() -> None:
    pytest.importorskip('tqdm')
    assert isinstance(progress_display(), Bar)


def test_terminals_and_notebooks_are_watched_and_files_are_not() -> None:
    terminal = type('Terminal', (io.StringIO,), {'isatty': lambda self: True})
    cell = type('OutStream', (io.StringIO,), {'__module__': 'ipykernel.iostream'})
    assert is_watched(terminal())
    assert is_watched(cell())
    assert not is_watched(io.StringIO())
