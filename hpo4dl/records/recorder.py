"""Writes a run's events: first to the disk, then into the state; nobody else does either."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..failure_kinds import kind_of
from ..trial import Configuration, Outcome, Trial
from .events import Event
from .journal import Journal
from .lock import Lock
from .state import Change, FinishedStep, RunningStep, RunState


@dataclass
class Recorder:
    """The one writer of a journal whose lock is held, and of the state that it says.

    All methods raise StorageError where the journal cannot be written: then the state is as it was; and RunLockedError
    where another tuner has taken over the run.
    """

    journal: Journal
    lock: Lock
    state: RunState
    plain: Callable[[Mapping[str, Any]], Configuration]
    """From a configuration to the same as JSON can hold it."""

    def start(self, wanted: Trial, epoch: int, starts_at: int, by: str | None = None) -> RunningStep:
        """Record a call for the step that the optimizer `wanted`, which trains from `starts_at` to `epoch`.

        `by`: who else wanted it, see `RunningStep`. It need not be on the disk before its result is.
        """
        event: Event = {'event': 'start', 'attempt': self.state.attempts, 'trial': wanted.id}
        event |= {'previous_epoch': starts_at, 'epoch': epoch}
        if starts_at == 0:
            event['configuration'] = self.plain(wanted.configuration)
        if starts_at == 0 and wanted.point is not None:
            event['point'] = [None if math.isnan(u) else u for u in wanted.point.tolist()]
        if epoch < wanted.epoch:
            event['wanted'] = wanted.epoch
        if starts_at < wanted.previous_epoch:
            event['acknowledged'] = wanted.previous_epoch
        if by is not None:
            event['by'] = by
        self._write(event, sync=False)
        return self.state.running[wanted.id]

    def result(self, step: RunningStep, outcome: Outcome) -> FinishedStep:
        """Record that a step is over; what it gave counts from now on."""
        epochs = [
            {'epoch': epoch, 'metric': metric, 'info': outcome.info.get(epoch, {})}
            | ({'cost': outcome.costs[epoch]} if epoch in outcome.costs else {})
            for epoch, metric in outcome.metrics.items()
            if epoch > step.trial.previous_epoch  # those before it are known
        ]
        event: Event = {'event': 'result', 'attempt': step.attempt, 'trial': step.trial.id, 'epochs': epochs}
        event |= {'failed': outcome.failed, 'traceback': outcome.traceback, 'seconds': outcome.seconds}
        if outcome.failed is not None:
            event['kind'] = kind_of(outcome.failed)
        if outcome.cost is not None:
            event['cost'] = outcome.cost
        finished = self._write({**event, 'overhead': step.overhead, 'size': outcome.size}).finished
        assert finished is not None
        return finished

    def lost(self, step: RunningStep, reason: str, blamed: bool) -> None:
        """Record that a call gave no result, and is to be made again."""
        event: Event = {'event': 'lost', 'attempt': step.attempt, 'trial': step.trial.id}
        self._write({**event, 'reason': reason, 'kind': kind_of(reason), 'counts': blamed})

    def evict(self, trial_id: int, reason: str) -> None:
        """Record that a trial's checkpoint is about to be removed."""
        self._write({'event': 'evict', 'trial': trial_id, 'reason': reason})

    def enqueue(self, plain: Mapping[str, Any]) -> None:
        """Record that somebody asked for a configuration, which is to be raced next."""
        self._write({'event': 'enqueue', 'configuration': dict(plain)})

    def give_up(self, trial_id: int, reason: str) -> None:
        """Record that somebody asked to train a paused trial no further."""
        self._write({'event': 'give_up', 'trial': trial_id, 'reason': reason})

    def finish(self, trial_ids: Sequence[int]) -> None:
        """Record that these trials are to be trained to the end, after the race."""
        self._write({'event': 'finish', 'trials': list(trial_ids)})

    def resume(self) -> None:
        """Record, if not on the disk, that the run goes on after a kill: the time since its last event was a pause."""
        self._write({'event': 'resume'}, sync=False)

    def stop(self, reason: str, expected_gain: float, expected_metric: float = math.nan) -> None:
        """Record that the run ends, for now; gain and metric where they are known (finite)."""
        expected = {'expected_gain': expected_gain, 'expected_metric': expected_metric}
        known = {key: value for key, value in expected.items() if math.isfinite(value)}
        self._write({'event': 'stop', 'reason': reason, **known})

    def _write(self, event: Event, sync: bool = True) -> Change:
        self.lock.check()
        event = self.journal.append(event, sync)
        self.lock.check()  # what was written after another tuner took over does not count
        return self.state.apply(event)
