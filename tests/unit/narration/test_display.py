"""What the terminal, or a log, shows while a race goes on."""

from __future__ import annotations

import io
import sys

import pytest

from hpo4dl import Event, Incumbent, Trial
from hpo4dl.narration.display import Bar, Line, Pace, brief_number, event_line, is_watched, progress_display


def event(spent: int, metric: float, budget: int | None = 100, running: int = 3, failed: str | None = None) -> Event:
    incumbent = Incumbent(metric=0.12512, configuration_id=7, epoch=3)
    return Event(Trial(9, {}, 4, 5), {5: metric}, failed, incumbent, spent, budget, 2.0 * spent, running)


def test_a_line_with_the_newest_result_the_incumbent_time_left_and_what_runs(capsys: pytest.CaptureFixture) -> None:
    line = Line()
    line(event(40, 0.5))
    line.close()
    parts = [part.strip() for part in capsys.readouterr().err.strip('\r\n').split('|')]
    assert parts == ['40/100 epochs', 'trial 9 epoch 5: 0.5', 'best 0.12512 (trial 7, epoch 3)']
    whole = event_line(event(40, 0.5), 1000)
    assert whole.endswith('best 0.12512 (trial 7, epoch 3) | 2:00 left | 3 running')
    assert 'left' not in event_line(event(4, 0.5), 1000), 'the first calls take longer than others'


@pytest.mark.parametrize('width', [40, 60, 79, 100])
@pytest.mark.parametrize('failed', [None, 'RuntimeError: ' + 'CUDA out of memory ' * 9])
def test_what_is_newest_is_never_what_is_cut(width: int, failed: str | None) -> None:
    for spent, budget in ((3, None), (5, 10), (12345, 100000)):
        line = event_line(event(spent, 0.123456789, budget, 16, failed), width)
        assert len(line) <= width
        assert ('trial 9 epoch 5: RuntimeError' if failed else 'trial 9 epoch 5: 0.12346') in line
        assert width < 79 or 'best 0.12512' in line


@pytest.mark.parametrize('failed', ['returned None; accepted: a dict', 'the metric of epoch 5 is None, not a number'])
def test_a_failure_without_a_type_is_told_in_a_whole_word(failed: str) -> None:
    assert event_line(event(5, 0.5, failed=failed), 60).startswith('5/100 epochs | trial 9 epoch 5: failed')


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
    assert 'trial 9 epoch 5: 0.5 | best 0.12512 | 3 running' in last


def test_eighty_columns_show_a_bar_the_newest_result_and_the_best() -> None:
    tqdm = pytest.importorskip('tqdm')
    text = io.StringIO()
    bar = Bar(lambda **o: tqdm.tqdm(**{**o, 'dynamic_ncols': False}, ncols=80, file=text, mininterval=0, ascii=True))
    bar(event(650, 0.123456, 1000))
    bar.close()
    last = text.getvalue().split('\r')[-1].rstrip('\n')
    assert len(last) <= 80
    assert ' 65%|######5   |' in last
    assert 'trial 9 epoch 5: 0.12346 | best 0.1251' in last


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
    assert not is_watched(None)


def test_ten_lines_a_minute_at_first_and_ten_hours_in_a_small_file() -> None:
    pace = Pace()
    due = [second for second in range(36_000) if pace.is_due(float(second))]
    assert len([second for second in due if second < 60]) == 10
    assert 300 < len(due) < 1000
    assert max(b - a for a, b in zip(due, due[1:])) <= 300


def test_a_budget_is_whole_or_has_four_digits() -> None:
    assert [brief_number(value) for value in (1_000_000, 20.0, 0.03055834999, 0.2)] == [
        '1000000',
        '20',
        '0.03056',
        '0.2',
    ]
