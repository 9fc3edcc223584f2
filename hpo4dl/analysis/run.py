"""A run's folder, read into dataclasses.

Reading changes nothing in the folder, and copes with what it finds: a run that goes on meanwhile (an incomplete last
line of the journal is left out), damaged lines (skipped, with a note), missing files.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import JournalError
from ..records.journal import NAME, READABLE, SCHEMA, Event, decode_line
from ..records.lock import process_start_time
from ..text import escape


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter of the space."""

    name: str
    kind: str
    """'number', 'rank' (ordered values) or 'category'."""
    lower: float | None = None
    """Bounds of a number; None if it has none, or they are not known."""
    upper: float | None = None
    log: bool = False
    integer: bool = False
    values: tuple[Any, ...] = ()
    """The values of a rank or category, in order."""


@dataclass(frozen=True)
class Observation:
    """One epoch of one trial."""

    trial: int
    epoch: int
    metric: float
    info: Mapping[str, Any]
    """What else the objective function returned with it."""
    spent: int
    """Epochs trained over all trials when this one was."""
    elapsed: float
    """Seconds that the run had worked then, pauses between two runs of a tuner left out."""
    seconds: float
    """Duration of its call, an even share of it."""
    overhead: float
    """Duration of the decision before that call, an even share of it."""


@dataclass
class TrialRecord:
    """One trial: its configuration and what came of it."""

    id: int
    configuration: dict[str, Any]
    """Plain values of the active hyperparameters; empty if the journal's line with it is damaged."""
    metrics: dict[int, float] = field(default_factory=dict)
    """The learning curve: metrics by epoch."""
    failed: str | None = None
    traceback: str | None = None
    spent: int = 0
    """Epochs that its calls were asked for."""
    seconds: float = 0.0
    """What its calls took."""
    began: float = 0.0
    """When its first call began, and its last one ended, in seconds since 1970."""
    ended: float = 0.0
    best: Observation | None = None

    @property
    def epoch(self) -> int:
        """The last epoch with a metric; 0: none."""
        return max(self.metrics, default=0)


@dataclass
class Run:
    """What a run's folder holds."""

    folder: Path
    settings: dict[str, Any]
    """What the tuner was started with; empty if the file is missing."""
    environment: dict[str, Any]
    hyperparameters: list[Hyperparameter]
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    """Every epoch with a metric, in the order of the journal."""
    running: dict[int, Event] = field(default_factory=dict)
    """Calls that began and gave no result yet: the journal's lines by trial."""
    lost: list[str] = field(default_factory=list)
    """Why calls were made again, one by one."""
    epochs_spent: int = 0
    elapsed: float = 0.0
    """Seconds that the run has worked so far."""
    stopped: str | None = None
    """Why it ended, if it did."""
    expected_gain: float | None = None
    """What training the most promising trial to the end was then expected to improve the metric by, where known."""
    notes: list[str] = field(default_factory=list)
    """What could not be read, as sentences."""
    incumbent: Observation | None = None

    @property
    def minimize(self) -> bool:
        """Whether smaller metrics are better."""
        return bool(self.settings.get('minimize', False))

    @property
    def max_epochs(self) -> int:
        """Epochs of one trial at most; the longest curve where the settings are gone."""
        return int(self.settings.get('max_epochs') or max((t.epoch for t in self.trials.values()), default=1))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def is_better(self, metric: float, than: float) -> bool:
        """Whether one metric is better than another, in the run's direction."""
        return metric < than if self.minimize else metric > than

    def ranked(self) -> list[TrialRecord]:
        """Return the trials with a metric, the best one first."""
        sign = 1 if self.minimize else -1
        found = [(sign * trial.best.metric, trial.id, trial) for trial in self.trials.values() if trial.best]
        return [trial for _, _, trial in sorted(found, key=lambda entry: entry[:2])]

    def improvements(self) -> list[Observation]:
        """Return the observations that became the incumbent, in order."""
        found: list[Observation] = []
        for observation in self.observations:
            if not found or self.is_better(observation.metric, found[-1].metric):
                found.append(observation)
        return found

    def epochs_saved(self) -> int:
        """Return how many more epochs training all trials to the end, but for failed ones, would take."""
        return sum(max(0, self.max_epochs - t.epoch) for t in self.trials.values() if t.failed is None and t.metrics)

    def bounds(self, h: Hyperparameter) -> tuple[float, float]:
        """Return the bounds of a number, those of the values that were raced where it has none."""
        raced = [trial.configuration[h.name] for trial in self.trials.values() if h.name in trial.configuration]
        low = h.lower if h.lower is not None else min(raced, default=0.0)
        high = h.upper if h.upper is not None else max(raced, default=1.0)
        return float(min([low, *raced])), float(max([high, *raced]))

    def state(self) -> str:
        """Return whether it runs, and where, or why it ended, as a sentence."""
        try:
            owner = json.loads((self.folder / 'lock').read_text(encoding='utf-8'))
            host, pid = str(owner['host']), int(owner['pid'])
            if host != socket.gethostname():
                return f'process {pid} on host {host} works on it, or died there'
            if process_start_time(pid) == owner['birth']:
                return f'process {pid} on this host works on it'
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return f'stopped: {self.stopped}' if self.stopped else 'interrupted: Tuner.resume, or hpo4dl resume, goes on'


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run's folder.

    Raises:
        JournalError: there is no journal, or one of another schema.
    """
    path = Path(folder).absolute()
    try:
        content = (path / NAME).read_bytes()
    except OSError as error:
        below = sorted(p.parent.name for p in path.glob(f'*/{NAME}')) if path.is_dir() else []
        hint = f'; runs below it: {", ".join(map(escape, below[-10:]))}' if below else ''
        raise JournalError(f'{escape(path)}: not the folder of a run ({escape(error)}){hint}') from error
    notes: list[str] = []
    settings = _read_json(path / 'settings.json', dict, notes)
    run = Run(path, dict(settings.get('settings') or {}), dict(settings.get('environment') or {}), [], notes=notes)
    _follow(run, _events(content, run))
    run.hyperparameters = _hyperparameters(_read_json(path / 'hyperparameters.json', list, notes), run.trials.values())
    return run


def _events(content: bytes, run: Run) -> Iterator[Event]:
    damaged = []
    for number, line in enumerate(content[: content.rfind(b'\n') + 1].split(b'\n')[:-1], 1):
        event = decode_line(line)
        if event is None:
            damaged.append(number)
        elif number == 1 and event.get('schema') not in READABLE:
            found = escape(event.get('schema'))
            known = f'this hpo4dl reads schema 1 and {SCHEMA}'
            raise JournalError(f'{run.folder / NAME}: written with schema {found}, {known}')
        else:
            yield event
    if damaged:
        listed = ', '.join(map(str, damaged[:10])) + (', ...' if len(damaged) > 10 else '')
        run.notes.append(f'{NAME}: {len(damaged)} damaged lines are left out (line {listed})')


def _follow(run: Run, events: Iterable[Event]) -> None:
    """Take the journal's lines into the run."""
    previous, paused = None, True
    for event in events:
        kind, now = event.get('event'), float(event.get('time', 0.0))
        remade = kind == 'start' and event['trial'] in run.running  # its first attempt was lost
        if previous is not None and not (kind == 'start' and (paused or remade)):
            run.elapsed += max(0.0, now - previous)
        previous, paused = now, kind == 'stop'
        if kind == 'stop':
            run.stopped = str(event.get('reason'))
            gain = event.get('expected_gain')
            run.expected_gain = float(gain) if is_number(gain) else None
        elif kind == 'start':
            run.stopped = run.expected_gain = None
            run.running[event['trial']] = event
            trial = run.trials.setdefault(event['trial'], TrialRecord(event['trial'], {}, began=now))
            trial.configuration = trial.configuration or event.get('configuration', {})
        elif kind == 'lost':
            run.lost.append(str(event.get('reason')))
        elif kind == 'result':
            trial = run.trials.setdefault(event['trial'], TrialRecord(event['trial'], {}, began=now))
            _take(run, trial, event, run.running.pop(event['trial'], {}), now)


def _take(run: Run, trial: TrialRecord, result: Event, start: Event, now: float) -> None:
    """One result; `start` is empty where its line is damaged."""
    entries = result.get('epochs', [])
    before = start.get('previous_epoch', trial.epoch)
    asked = start.get('epoch', max([entry['epoch'] for entry in entries], default=before + 1)) - before
    seconds, overhead = (result.get(key, 0.0) / max(len(entries), 1) for key in ('seconds', 'overhead'))
    for left, entry in zip(range(len(entries) - 1, -1, -1), entries):
        epoch, info = entry['epoch'], entry.get('info') or {}
        spent, elapsed = run.epochs_spent + epoch - before, run.elapsed - left * seconds
        observation = Observation(trial.id, epoch, entry['metric'], info, spent, elapsed, seconds, overhead)
        run.observations.append(observation)
        trial.metrics[observation.epoch] = observation.metric
        if trial.best is None or run.is_better(observation.metric, trial.best.metric):
            trial.best = observation
        if run.incumbent is None or run.is_better(observation.metric, run.incumbent.metric):
            run.incumbent = observation
    run.epochs_spent += asked
    trial.spent += asked
    trial.seconds += result.get('seconds', 0.0)
    trial.failed, trial.traceback, trial.ended = result.get('failed'), result.get('traceback'), now


def _hyperparameters(described: list[Any], trials: Iterable[TrialRecord]) -> list[Hyperparameter]:
    """The axes as `space.describe` wrote them; what the file does not hold, from the values that were raced."""
    raced: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.configuration.items():
            raced.setdefault(name, []).append(value)
    told = {entry['name']: entry for entry in described if isinstance(entry, dict) and 'name' in entry}
    found = []
    for name in dict.fromkeys([*told, *raced]):
        entry, values = told.get(name, {}), raced.get(name, [])
        listed = entry.get('sequence') or entry.get('choices') or ([entry['value']] if 'value' in entry else [])
        if listed or not all(map(is_number, values)):
            every = tuple({json.dumps(value): value for value in [*listed, *values]}.values())
            found.append(Hyperparameter(name, 'rank' if 'sequence' in entry else 'category', values=every))
        else:
            lower, upper = (entry.get(key) for key in ('lower', 'upper'))
            lower, upper = (bound if is_number(bound) and math.isfinite(bound) else None for bound in (lower, upper))
            integer = all(isinstance(value, int) for value in values)
            found.append(Hyperparameter(name, 'number', lower, upper, bool(entry.get('log')), integer))
    return found


def _read_json(path: Path, kind: type, notes: list[str]) -> Any:
    """Return the file's content; if it cannot be read, an empty `kind`, and a note."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if isinstance(content, kind):
            return content
        reason = f'holds no {kind.__name__}'
    except (OSError, ValueError) as error:
        reason = str(error)
    notes.append(f'{path.name} cannot be read: {escape(reason)}')
    return kind()


def to_json(run: Run) -> dict[str, Any]:
    """Return the run as plain data: settings, environment, results, and every trial with its learning curve."""
    best = run.incumbent
    return {
        'name': run.name,
        'folder': str(run.folder),
        'state': run.state(),
        'minimize': run.minimize,
        'max_epochs': run.max_epochs,
        'settings': run.settings,
        'environment': run.environment,
        'hyperparameters': [vars(h) for h in run.hyperparameters],
        'epochs_spent': run.epochs_spent,
        'epochs_saved': run.epochs_saved(),
        'seconds': run.elapsed,
        'incumbent': best and {
            'configuration_id': best.trial,
            'epoch': best.epoch,
            'metric': best.metric,
            'info': dict(best.info),
            'configuration': run.trials[best.trial].configuration,
        },
        'improvements': [
            {'trial': o.trial, 'epoch': o.epoch, 'metric': o.metric, 'spent': o.spent, 'seconds': o.elapsed}
            for o in run.improvements()
        ],
        'trials': [
            {
                'id': trial.id,
                'configuration': trial.configuration,
                'epochs': list(trial.metrics),
                'metrics': list(trial.metrics.values()),
                'best': trial.best and trial.best.metric,
                'spent': trial.spent,
                'seconds': trial.seconds,
                'failed': trial.failed,
                'running': trial.id in run.running,
            }
            for trial in run.trials.values()
        ],
        'notes': run.notes,
    }


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a plain value is a number and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
