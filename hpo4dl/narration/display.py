"""What is seen of a race while it goes on: tqdm's bar, a line on a terminal that is written over, or lines in a log."""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

from ..analysis.text import format_seconds
from ..progress import Event

UNITS = {'epochs': 'epoch', 'seconds': 's', 'reported': 'cost'}
"""One of what a budget counts."""
EARLY = 0.05
"""Share of a budget from which on the time that is left is told: the first calls take longer, as they import."""


class Line:
    """A line on the terminal, written over at every result."""

    def __call__(self, event: Event) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write('\r' + event_line(event, width).ljust(width))
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other text; the next result writes the line again."""
        sys.stderr.write('\r' + ' ' * (shutil.get_terminal_size().columns - 1) + '\r')

    def close(self) -> None:
        """Leave the last line on the terminal."""
        sys.stderr.write('\n')
        sys.stderr.flush()


class Bar:
    """A bar of tqdm's, in a notebook a widget: epochs spent of the budget, time left, the newest result, the incumbent.

    Args:
        tqdm: the class, such as `tqdm.auto.tqdm`.
    """

    FORMAT = '{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{remaining} left{postfix}]'
    """With a width of its own for the bar, so that a narrow terminal cuts neither bar nor newest result."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None

    def __call__(self, event: Event) -> None:
        if self._bar is None:  # what an earlier run of the tuner spent says nothing about how fast this one is
            before = event.spent - (event.trial.epoch - event.trial.previous_epoch if event.counts_epochs else 0)
            look = {'bar_format': self.FORMAT} if event.max_budget else {}
            unit = UNITS[event.unit] if event.max_budget else 'epoch'
            self._bar = self._tqdm(total=event.max_budget, initial=before, unit=unit, dynamic_ncols=True, **look)
        best = [f'best {event.incumbent.metric:.5g}'] if event.incumbent else []
        self._bar.set_postfix_str(' | '.join([newest(event), *best, *running(event)]), refresh=False)
        self._bar.update(event.spent - self._bar.n)

    def clear(self) -> None:
        """Make room for other text; the next result draws the bar again."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Leave the last state of the bar on the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Pace:
    """How often a log is written to: ten times a minute at first, then rarer, at least every five minutes.

    A race of ten minutes has a hundred lines, one of ten hours five hundred.
    """

    LEAST, MOST, SHARE = 6.0, 300.0, 0.01
    """Seconds between two lines at least and at most, and as a share of the time so far."""

    def __init__(self) -> None:
        self._due = 0.0

    def is_due(self, seconds: float) -> bool:
        """Return whether a line is due so many seconds after the start, which counts as written if it is."""
        if seconds < self._due:
            return False
        self._due = seconds + min(max(self.LEAST, self.SHARE * seconds), self.MOST)
        return True


def is_watched(stream: Any) -> bool:
    """Return whether people look on while the stream is written: it is a terminal, or a cell of a notebook."""
    if stream is None:  # of a program without a console
        return False
    return bool(stream.isatty()) or type(stream).__module__.startswith('ipykernel')


def progress_display() -> Bar | Line:
    """Return what shows the progress here."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return Line()
    return Bar(tqdm)


def event_line(event: Event, width: int) -> str:
    """Return the event in one line of so many characters; what does not fit is left out, the newest result never."""
    line = f'{event.epochs_spent} epochs'
    if event.max_budget:
        unit = 'epochs' if event.counts_epochs else UNITS[event.unit]
        line = f'{brief_number(event.spent)}/{brief_number(event.max_budget)} {unit}'
    parts = [newest(event)]
    if len(line) + 3 + len(parts[0]) > width:
        return parts[0][:width]
    if event.incumbent:
        best = event.incumbent
        parts.append(f'best {best.metric:.5g} (trial {best.configuration_id}, epoch {best.epoch})')
        if len(line) + len(parts[0]) + len(parts[1]) + 6 > width:
            parts[1] = f'best {best.metric:.5g}'
    if event.max_budget and event.spent >= EARLY * event.max_budget > 0:
        left = event.seconds / event.spent * max(event.max_budget - event.spent, 0)
        parts.append(f'{format_seconds(left)} left')
    for part in [*parts, *running(event)]:
        if len(line) + 3 + len(part) <= width:
            line += f' | {part}'
    return line


def brief_number(value: float) -> str:
    """A budget, or what is spent of one: whole numbers in full, of others four digits."""
    return f'{value:.10g}' if float(value).is_integer() else f'{value:.4g}'


def newest(event: Event) -> str:
    """Return the newest result; of a failure, its type, where it has one: a warning says the rest."""
    what = f'trial {event.trial.id} epoch {event.trial.epoch}: '
    if event.failed is not None:
        kind = event.failed.partition(':')[0]
        return what + (kind if re.fullmatch(r'[\w. ]{1,24}', kind) else 'failed')
    return what + ', '.join(f'{metric:.5g}' for metric in list(event.metrics.values())[-1:])


def running(event: Event) -> list[str]:
    """Return how many calls are running, if any."""
    return [f'{event.running} running'] if event.running else []
