"""What a run's journal says: the one fold of its events, which the loop, resumes, replays, reports and tables read.

Live runs `apply` the event that the recorder has just written, resumed ones `follow` the journal: so what is known
after a resume is what was known before the kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import JournalError
from ..trial import Array, Configuration, Incumbent, Trial, copied
from .events import Event

RESERVE, FINISH = 'reserve', 'finish'
"""Why the tuner decides on a step: the rest of the budget is kept for it, or it was asked to finish after the race."""

Restore = Callable[[Mapping[str, Any], Array | None], Configuration]
"""From a journal's plain configuration, and its point, to the configuration as the objective function gets it."""


@dataclass(frozen=True)
class Observation:
    """One epoch of one trial."""

    trial: int
    """Its number."""
    epoch: int
    metric: float
    info: Mapping[str, Any]
    """What else the objective function returned with it."""
    spent: int
    """Epochs trained over all trials when this one was."""
    elapsed: float
    """Seconds that the run had worked then, pauses between two runs of a tuner left out."""
    seconds: float
    """What its call took, divided by the epochs of the call."""
    overhead: float
    """What the decision before that call took, in seconds, divided likewise."""
    cost: float | None = None
    """What training took from the trial's epoch before to this one; None where the run counts epochs."""

    def row(self, configuration: Configuration) -> dict[str, Any]:
        """Return the epoch with the columns of `hpo4dl_results.csv`, which are those of hpo4dl 0.1.0."""
        trial = {'configuration_id': self.trial, 'configuration': copied(configuration)}
        times = {'time': self.seconds, 'overhead_time': self.overhead, 'total_time': self.seconds + self.overhead}
        cost = {} if self.cost is None else {'cost': self.cost}
        return {'epoch': self.epoch, 'metric': self.metric, **self.info, **cost, **trial, **times}


@dataclass
class TrialRecord:
    """One trial: its configuration and what came of it."""

    id: int
    """Its number, from 0."""
    configuration: Configuration
    """Empty where `read_run` found the journal's line with it damaged."""
    point: Array | None = None
    """(d,) its coordinates in the unit cube; None in a journal of schema 1."""
    metrics: dict[int, float] = field(default_factory=dict)
    """By epoch."""
    failed: str | None = None
    """Why it is not trained further, if it is not."""
    traceback: str | None = None
    """Of the exception that it failed by."""
    spent: int = 0
    """Epochs that its calls were asked for."""
    cost: float = 0
    """What its calls took, in the unit of the run's budget."""
    seconds: float = 0.0
    """Of all its calls."""
    seconds_per_epoch: float | None = None
    """Of its last call that did not fail."""
    began: float = 0.0
    """When its first call began, and its last one ended, in seconds since 1970."""
    ended: float = 0.0
    best: Observation | None = None
    """Its best epoch, with an empty `info`: a race of thousands of trials keeps that of its incumbent alone."""

    @property
    def epoch(self) -> int:
        """The last epoch with a metric; 0: none."""
        return max(self.metrics, default=0)


@dataclass(frozen=True)
class Checkpoint:
    """What a trial goes on from."""

    attempt: int
    size: int
    """Bytes."""


@dataclass
class RunningStep:
    """A step that was asked for and is not finished."""

    trial: Trial
    """From the epoch that the trial had reached, whatever happened since, to the one that the budget allowed."""
    wanted: Trial
    """The same as the optimizer asked for it, before the budget cut it."""
    starts_at: int
    """The epoch that the call starts from: 0 where the trial's checkpoint was evicted."""
    attempt: int
    by: str | None = None
    """`RESERVE` or `FINISH`, where the tuner decided; None: the optimizer did."""
    overhead: float = 0.0
    """Seconds that the decision took."""
    blamed_losses: int = 0
    """Lost calls that count as the trial's own."""
    shared_losses: int = 0
    """Lost calls that cannot be blamed on this trial, because other calls were lost with them."""

    @property
    def epochs(self) -> int:
        """Epochs that the call trains."""
        return self.trial.epoch - self.starts_at


@dataclass(frozen=True)
class FinishedStep:
    """A step and what came of it."""

    step: RunningStep
    metrics: dict[int, float]
    """In the user's own sign, by epoch."""
    costs: dict[int, float]
    """By epoch; empty where the run counts epochs."""
    failed: str | None
    observations: list[Observation]
    improved: bool
    """Whether the incumbent changed."""


@dataclass(frozen=True)
class Change:
    """What one event changed."""

    asked: RunningStep | None = None
    """A new decision, not where a call is made again."""
    finished: FinishedStep | None = None
    enqueued: Configuration | None = None
    """What is to be raced next, since somebody asked for it."""
    given_up: TrialRecord | None = None
    """A paused trial that is trained no further, since somebody asked for that."""


@dataclass
class RunState:
    """All that a run's journal says, but for the user's further keys of every epoch, which `Change` hands on."""

    minimize: bool
    """Whether smaller metrics are better."""
    restore: Restore = lambda plain, point: dict(plain)
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    """By number, as `running` and `checkpoints`."""
    running: dict[int, RunningStep] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """Of trials that have one that was not evicted."""
    incumbent: Observation | None = None
    """The best epoch so far; None: no call gave a metric."""
    incumbent_attempt: int = -1
    epochs_spent: int = 0
    """Epochs trained, over all trials; a failed step counts with what it was asked for."""
    budget_spent: float = 0
    """What the race spent of its budget, in its unit: epochs but for those trained to finish, or what they cost."""
    finishing: list[int] = field(default_factory=list)
    """The trials that are, or were, trained to the end after the race; empty while it goes on."""
    longest_call: int = 1
    """Epochs of the longest call so far that did not fail."""
    elapsed: float = 0.0
    """Seconds that the run has worked, pauses between two runs of a tuner left out."""
    attempts: int = 0
    """The number of the next attempt."""
    lost: list[str] = field(default_factory=list)
    """Why calls were made again, one by one."""
    failures: Counter[str] = field(default_factory=Counter)
    """Reasons, as long as there is no incumbent."""
    last_traceback: str = ''
    stopped: str | None = None
    """Why it ended, as `Tuner.stopped`; None: it goes on, or was killed."""
    expected_gain: float | None = None
    """What training the most promising trial to the end was then expected to improve the metric by, where known."""
    expected_metric: float | None = None
    """What the optimizer then believed the incumbent's metric to be, where known: the best of noisy ones is luck."""
    salvaged: bool = False
    """Whether lines of the journal were lost."""
    last_time: float | None = None
    """Of the last event, in seconds since 1970."""

    def follow(self, journal: Iterable[Event]) -> Iterator[Change]:
        """Apply all events, one by one; raises JournalError about one that does not fit those before it."""
        for number, event in enumerate(journal, 1):
            try:
                yield self.apply(event)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                fault = f'{journal}, line {number}: does not fit what stands before it: {error!r}'
                raise JournalError(f'{fault}; Tuner.resume(..., salvage=True) goes on from what fits') from error

    def apply(self, event: Event) -> Change:
        """Take one event; raises KeyError, TypeError or ValueError where it does not fit those before it."""
        kind = event['event']
        self._advance_clock(kind, event)
        if kind == 'start':
            return self._start(event)
        if kind == 'result':
            return Change(finished=self._result(event))
        if kind == 'lost':
            self._lost(event)
        elif kind == 'evict':
            self.checkpoints.pop(event['trial'], None)
        elif kind == 'enqueue':
            return Change(enqueued=self.restore(event['configuration'], None))
        elif kind == 'give_up':
            trial = self.trials[event['trial']]
            trial.failed = str(event['reason'])
            return Change(given_up=trial)
        elif kind == 'salvage':
            self.salvaged = True
        elif kind == 'stop':
            gain, metric = event.get('expected_gain'), event.get('expected_metric')
            self.stopped, self.expected_gain = str(event.get('reason')), None if gain is None else float(gain)
            self.expected_metric = None if metric is None else float(metric)
        elif kind == 'finish':
            self.finishing = [trial for trial in event['trials'] if trial in self.trials]
        return Change()

    def is_better(self, metric: float, than: float) -> bool:
        """Return whether one metric is better than another, in the run's direction."""
        return metric < than if self.minimize else metric > than

    def best_complete(self, max_epochs: int) -> TrialRecord | None:
        """Return the trial that was trained to `max_epochs` and has the best metric there; None: no trial was."""
        complete = [trial for trial in self.trials.values() if max_epochs in trial.metrics]
        sign = 1 if self.minimize else -1
        return min(complete, key=lambda trial: (sign * trial.metrics[max_epochs], trial.id), default=None)

    def incumbent_row(self) -> Incumbent | None:
        """Return the incumbent as `Tuner.run` returns it, the receiver's own; None as long as there is none."""
        best = self.incumbent
        return None if best is None else Incumbent(best.row(self.trials[best.trial].configuration))

    def _advance_clock(self, kind: str, event: Event) -> None:
        now = float(event.get('time', self.last_time or 0.0))
        made_again = kind == 'start' and event['trial'] in self.running  # its first attempt was lost
        is_pause = self.stopped is not None or kind in ('resume', 'salvage')  # a kill leaves no "stop"
        if self.last_time is not None and not is_pause and not made_again:
            self.elapsed += max(0.0, now - self.last_time)
        self.last_time = now

    def _start(self, event: Event) -> Change:
        self.attempts = max(self.attempts, event['attempt'] + 1)
        self.stopped = self.expected_gain = self.expected_metric = None
        trial = self._trial(event)
        reached: int = event.get('acknowledged') or event['previous_epoch']
        asked = Trial(trial.id, trial.configuration, reached, event['epoch'], trial.point)
        again = self.running.get(trial.id)
        if again is not None:
            again.trial, again.starts_at, again.attempt = asked, event['previous_epoch'], event['attempt']
            return Change()
        wanted, by = replace(asked, epoch=event.get('wanted') or event['epoch']), event.get('by')
        if by != FINISH:
            self.finishing = []
        step = self.running[trial.id] = RunningStep(asked, wanted, event['previous_epoch'], event['attempt'], by)
        return Change(asked=step)

    def _trial(self, event: Event) -> TrialRecord:
        """Return the trial of an event, whose first "start" carries its configuration."""
        if event['trial'] not in self.trials:
            plain, point = event['configuration'], event.get('point')
            if point is not None:
                import numpy as np  # not at the top: to look at a run needs no NumPy

                point = np.array(point, dtype=float)  # null is NaN: inactive
            known = TrialRecord(event['trial'], self.restore(plain, point), point, began=self.last_time or 0.0)
            self.trials[event['trial']] = known
        return self.trials[event['trial']]

    def _result(self, event: Event) -> FinishedStep:
        step = self.running.pop(event['trial'])
        trial = self.trials[step.trial.id]
        entries, failed, seconds = event['epochs'], event['failed'], float(event['seconds'])
        share, overhead = seconds / max(len(entries), 1), float(event['overhead']) / max(len(entries), 1)
        observations: list[Observation] = []
        improved = False
        for n, entry in enumerate(entries, 1):
            epoch, metric = entry['epoch'], entry['metric']
            spent, elapsed = self.epochs_spent + epoch - step.starts_at, self.elapsed - (len(entries) - n) * share
            info, cost = entry.get('info') or {}, entry.get('cost')
            seen = Observation(trial.id, epoch, metric, info, spent, elapsed, share, overhead, cost)
            observations.append(seen)
            trial.metrics[epoch] = metric
            if trial.best is None or self.is_better(metric, trial.best.metric):
                trial.best = replace(seen, info={})
            if self.incumbent is None or self.is_better(metric, self.incumbent.metric):
                self.incumbent, self.incumbent_attempt, improved = seen, event['attempt'], True
        cost = event.get('cost', step.epochs)
        self.epochs_spent += step.epochs
        self.budget_spent += cost if step.by != FINISH else 0
        trial.spent += step.epochs
        trial.cost += cost
        trial.seconds += seconds
        trial.failed, trial.traceback, trial.ended = failed, event['traceback'], self.last_time or 0.0
        if failed is None:
            trial.seconds_per_epoch = seconds / max(step.epochs, 1)
            self.longest_call = max(self.longest_call, step.epochs)
        if self.incumbent is not None:
            self.failures.clear()
        elif failed is not None:
            self.failures[failed] += 1
            self.last_traceback = trial.traceback or ''
        if failed is None or improved:
            self.checkpoints[trial.id] = Checkpoint(event['attempt'], event.get('size', 0))
        metrics = {seen.epoch: seen.metric for seen in observations}
        costs = {seen.epoch: seen.cost for seen in observations if seen.cost is not None}
        return FinishedStep(step, metrics, costs, failed, observations, improved)

    def _lost(self, event: Event) -> None:
        self.lost.append(str(event.get('reason')))
        step = self.running[event['trial']]
        if event['counts']:
            step.blamed_losses += 1
        else:
            step.shared_losses += 1
