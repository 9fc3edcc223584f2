"""What a run's journal says so far: a fold over its events, fed line by line as they are written or read again.

Live and resumed runs take the same way: the tuner appends an event to the journal and gives it to the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import JournalError
from ..execution.worker import Outcome
from ..optimizers.registry import Optimizer
from ..space.unit_cube import Space
from ..trial import Configuration, Trial
from .journal import Event

Row = dict[str, Any]


@dataclass
class Step:
    """A decision that was taken and has not ended."""

    trial: Trial
    """What was asked for: `previous_epoch` is the epoch that the trial had reached, whatever happened since."""
    wanted: Trial
    """The same as the optimizer asked for it, before the budget cut it."""
    cost: int
    """Epochs that it trains: more than it was asked for where the trial's checkpoint was evicted."""
    overhead: float = 0.0
    """Seconds that the decision took."""
    losses: int = 0
    """Calls that were lost and count as the trial's own."""
    innocent: int = 0
    """Calls that were lost with others', so that nobody knows whose fault it was."""


@dataclass
class Ending:
    """A step that has ended."""

    step: Step
    report: Outcome
    improved: bool
    """Whether the incumbent changed."""


@dataclass
class Ledger:
    """The counters and tables of a race."""

    space: Space
    minimize: bool
    spent: int = 0
    """Epochs trained, over all trials; a failed step counts with what it was asked for."""
    attempts: int = 0
    """The number of the next attempt."""
    running: dict[int, Step] = field(default_factory=dict)
    """By trial: decided on and not ended."""
    best: Row | None = None
    best_attempt: int = -1
    failures: Counter[str] = field(default_factory=Counter)
    """Reasons, as long as there is no incumbent."""
    last_traceback: str = ''
    left: dict[int, int] = field(default_factory=dict)
    """By trial: the attempt whose folder is what it goes on from; not there if it was evicted."""
    sizes: dict[int, int] = field(default_factory=dict)
    """By trial: bytes of that folder."""
    paces: dict[int, float] = field(default_factory=dict)
    """By trial: seconds an epoch, in its last call."""
    values: dict[int, float] = field(default_factory=dict)
    """By trial: its best metric, larger is better."""
    configurations: dict[int, Configuration] = field(default_factory=dict)

    def fold(self, journal: Iterable[Event], optimizer: Optimizer) -> None:
        """Take all events, and bring the optimizer along.

        Raises:
            JournalError: they do not fit together.
        """
        for n, event in enumerate(journal, 1):
            try:
                if event['event'] == 'start':
                    step = self.start(event)
                    if step is not None:
                        optimizer.replay(step.wanted)
                elif event['event'] == 'result':
                    ending = self.result(event)
                    optimizer.tell(ending.step.trial, ending.report.metrics, ending.report.failed)
                elif event['event'] == 'lost':
                    self.lost(event)
                elif event['event'] == 'evict':
                    self.drop(event['trial'])
            except (KeyError, TypeError, ValueError) as error:
                raise JournalError(f'journal, line {n}: does not fit what stands before it: {error!r}') from error

    def start(self, event: Event) -> Step | None:
        """Take a "start"; returns its step if it is a new decision, None if a call is made again."""
        self.attempts = max(self.attempts, event['attempt'] + 1)
        trial_id, again = event['trial'], self.running.get(event['trial'])
        if 'configuration' in event and trial_id not in self.configurations:
            self.configurations[trial_id] = self.space.restore(event['configuration'])
        configuration = self.configurations[trial_id]
        reached: int = event.get('acknowledged') or event['previous_epoch']
        trial = Trial(trial_id, configuration, reached, event['epoch'])
        wanted = replace(trial, epoch=event.get('wanted') or event['epoch'])
        cost = event['epoch'] - event['previous_epoch']
        if again is not None:
            again.trial, again.cost = trial, cost
            return None
        self.running[trial_id] = Step(trial, wanted, cost)
        return self.running[trial_id]

    def result(self, event: Event) -> Ending:
        """Take a "result"."""
        step = self.running.pop(event['trial'])
        report = report_of(event)
        self.spent += step.cost
        improved = False
        for row in rows(event, step.trial.configuration):
            value = -row['metric'] if self.minimize else row['metric']
            self.values[step.trial.id] = max(value, self.values.get(step.trial.id, value))
            if self.best is None or self.is_better(row['metric'], self.best):
                self.best, self.best_attempt, improved = row, event['attempt'], True
        if report.failed is None:
            self.paces[step.trial.id] = report.seconds / step.cost
        if self.best is not None:
            self.failures.clear()
        elif report.failed is not None:
            self.failures[report.failed] += 1
            self.last_traceback = report.traceback or ''
        if report.failed is None or improved:
            self.left[step.trial.id] = event['attempt']
            self.sizes[step.trial.id] = event.get('size', 0)
        return Ending(step, report, improved)

    def lost(self, event: Event) -> None:
        """Take a "lost"."""
        step = self.running[event['trial']]
        if event['counts']:
            step.losses += 1
        else:
            step.innocent += 1

    def drop(self, trial_id: int) -> None:
        """The trial's checkpoint is gone: evicted, or not needed any more."""
        self.left.pop(trial_id, None)
        self.sizes.pop(trial_id, None)

    def is_better(self, metric: float, row: Row) -> bool:
        return bool(metric < row['metric'] if self.minimize else metric > row['metric'])


def result_event(attempt: int, trial_id: int, report: Outcome, overhead: float) -> Event:
    """The journal's line for a report."""
    return {
        'event': 'result',
        'attempt': attempt,
        'trial': trial_id,
        'epochs': [{'epoch': e, 'metric': m, 'info': report.info.get(e, {})} for e, m in report.metrics.items()],
        'failed': report.failed,
        'traceback': report.traceback,
        'seconds': report.seconds,
        'overhead': overhead,
        'size': report.size,
    }


def report_of(event: Event) -> Outcome:
    """The report in a "result"."""
    return Outcome(
        metrics={entry['epoch']: entry['metric'] for entry in event['epochs']},
        info={entry['epoch']: entry['info'] for entry in event['epochs']},
        failed=event['failed'],
        traceback=event['traceback'],
        seconds=event['seconds'],
        size=event.get('size', 0),
    )


def rows(event: Event, configuration: Configuration) -> Iterator[Row]:
    """An epoch a row, with the columns of hpo4dl 0.1.0, of a "result"."""
    n = len(event['epochs'])
    for entry in event['epochs']:
        yield {
            'epoch': entry['epoch'],
            'metric': entry['metric'],
            **entry['info'],
            'configuration_id': event['trial'],
            'configuration': configuration,
            'time': event['seconds'] / n,
            'overhead_time': event['overhead'] / n,
            'total_time': (event['seconds'] + event['overhead']) / n,
        }
