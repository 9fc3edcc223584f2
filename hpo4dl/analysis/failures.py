"""Failures of calls, grouped by what they are: by type and place, whatever paths and numbers their messages have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..failure_kinds import kind_of
from ..records.state import TrialRecord
from ..text import escape, truncate
from ..trial import Trial

FRAME = re.compile(r'^ *File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
"""A line of a traceback."""
FOREIGN = ('site-packages', 'dist-packages', '/lib/python', '<frozen', str(Path(__file__).parents[1]))
"""In the paths of code that is not the user's."""
PATH = re.compile(r'(?:[A-Za-z]:)?(?:[\\/][^\s\\/\'":,;()]+){2,}')
NUMBER = re.compile(r'\d+(?:\.\d+)?(?:e[+-]?\d+)?')


@dataclass
class Failures:
    """Failures that are alike."""

    message: str
    """That of the first one, in one line, its paths cut to their last part."""
    place: str
    """Where in the user's code it was raised, such as 'in train (tune.py:12)'; empty if nothing was."""
    traceback: str | None
    """Of the first one."""
    trials: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f'{self.message} {self.place}'.rstrip()

    def short(self, width: int) -> str:
        """Return it in so many characters; what is cut is the message, never the place."""
        return f'{truncate(self.message, max(width - len(self.place) - 1, 20))} {self.place}'.rstrip()


def likeness(message: str, traceback: str | None) -> tuple[str, str]:
    """Return what failures alike have in common: the message without its paths and numbers, and the place."""
    return NUMBER.sub('#', PATH.sub('/', message)), place_of(traceback)


def failure(message: str, traceback: str | None) -> Failures:
    """Return one failure for people, of no trial yet."""
    shown = PATH.sub(lambda found: '.../' + re.split(r'[\\/]', found[0])[-1], message)
    return Failures(escape(shown), place_of(traceback), traceback)


def place_of(traceback: str | None) -> str:
    """Return the last place of a traceback that is in the user's own code, or else the last one."""
    frames = FRAME.findall(traceback or '')
    own = [frame for frame in frames if not any(part in frame[0] for part in FOREIGN)] or frames
    if not own:
        return ''
    path, line, function = own[-1]
    return escape(f'in {function} ({re.split(r"[/]", path)[-1]}:{line})')


class FailureLog:
    """Which failures of a race are worth a warning: the first of a kind, the tenth, the hundredth, ..."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def about(self, trial: Trial, failed: str, traceback: str | None) -> Iterator[str]:
        """Take note of a failure; what is to be told of it, if anything."""
        alike = likeness(failed, traceback)
        self._counts[alike] += 1
        n, what = self._counts[alike], failure(failed, traceback)
        if n == 1:
            yield f'trial {trial.id} failed on its way to epoch {trial.epoch}: {what}'
        elif str(n).strip('0') == '1':
            yield f'{n} trials have failed like trial {trial.id}: {what}'


def grouped(trials: Iterable[TrialRecord]) -> list[Failures]:
    """Return the failures of some trials, those that are alike together, the most frequent first."""
    found: dict[tuple[str, str], Failures] = {}
    for trial in trials:
        if trial.failed is not None:
            alike = likeness(trial.failed, trial.traceback)
            found.setdefault(alike, failure(trial.failed, trial.traceback)).trials.append(trial.id)
    return sorted(found.values(), key=lambda group: -len(group.trials))


def counted_kinds(reasons: Iterable[str]) -> str:
    """Return how many failures are of which kind, such as '3 out of memory, 1 error'."""
    return ', '.join(f'{n} {kind}' for kind, n in Counter(map(kind_of, reasons)).most_common())
