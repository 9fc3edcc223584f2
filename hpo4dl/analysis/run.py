"""A run's folder, read into dataclasses.

Reading changes nothing in the folder, and copes with what it finds: a run that goes on meanwhile (an incomplete last
line of the journal is left out), damaged lines (skipped, with a note), missing files.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import ArgumentError, JournalError
from ..failure_kinds import kind_of
from ..files import read_json, read_regular
from ..integrations.extras import import_extra
from ..records.events import Event, is_finite, is_whole
from ..records.journal import NAME, READABLE, SCHEMA, decode_line
from ..records.lock import process_start_time
from ..records.runs import find_run
from ..records.state import Observation, RunState, TrialRecord
from ..text import brief, escape
from .salvage import made_consistent
from .text import plural

if TYPE_CHECKING:
    from .plots import Figure


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


@dataclass(repr=False)
class Run(RunState):
    """What a run's folder holds, as it was when it was read. In a notebook it shows itself as a table."""

    folder: Path = Path()
    """Absolute."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the tuner was started with; empty if the file is missing."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The versions of Python and packages, then."""
    hyperparameters: list[Hyperparameter] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    """Every epoch with a metric, in the order of the journal."""
    notes: list[str] = field(default_factory=list)
    """What could not be read, as sentences."""

    @property
    def max_epochs(self) -> int:
        """Epochs of one trial at most; the longest curve where the settings are gone."""
        return int(self.settings.get('max_epochs') or max((t.epoch for t in self.trials.values()), default=1))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def metric_name(self) -> str:
        """What the metric is called."""
        return str(self.settings.get('metric_name') or 'metric')

    @property
    def best_checkpoint(self) -> Path | None:
        """The folder with the incumbent's checkpoint; None if there is none."""
        folder = self.folder / 'best_trial'
        return folder if folder.is_dir() else None

    def curve(self, trial: int) -> dict[int, float]:
        """Return the metrics of a trial, by epoch.

        Raises:
            ArgumentError: there is no such trial.
        """
        if trial not in self.trials:
            raise ArgumentError('trial', trial, f'one of the {plural(len(self.trials), "trial")} of {self.name}')
        return dict(self.trials[trial].metrics)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame: a row an epoch, and at the end a row for each trial that failed.

        Raises:
            HPO4DLError: pandas is not installed.
        """
        from .export import rows

        return import_extra('pandas', 'pandas').DataFrame(rows(self))

    def plot(self) -> Figure:
        """Return a matplotlib figure of the run: learning curves, the best so far, the configurations.

        A notebook shows it, whether or not it was set up to show figures.

        Raises:
            HPO4DLError: matplotlib is not installed, or there is no metric to draw.
        """
        from .plots import draw, image

        figure = draw(self)
        shown: Any = figure
        shown._repr_png_ = partial(image, figure, 'png', dpi=72)  # what a notebook asks an object for
        return figure

    def __repr__(self) -> str:
        best = self.incumbent
        found = 'no result yet'
        if best is not None:
            found = f'{self.metric_name} {best.metric:.6g} (trial {best.trial}, epoch {best.epoch})'
        return f'<Run: {plural(len(self.trials), "trial")}, {self.epochs_spent} epochs, {found}; {self.folder}>'

    def _repr_html_(self) -> str:
        """Return the best trials as a table, for notebooks."""
        from .report import report_html

        return report_html(self)

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
        """Return how many more epochs it would have taken to train all trials to the end, but for those that failed."""
        return sum(max(0, self.max_epochs - t.epoch) for t in self.trials.values() if t.failed is None and t.metrics)

    def bounds(self, h: Hyperparameter) -> tuple[float, float]:
        """Return the bounds of a number, those of the values that were raced where it has none."""
        raced = [trial.configuration[h.name] for trial in self.trials.values() if h.name in trial.configuration]
        low = h.lower if h.lower is not None else min(raced, default=0.0)
        high = h.upper if h.upper is not None else max(raced, default=1.0)
        return float(min([low, *raced])), float(max([high, *raced]))

    def worked_on_by(self) -> str:
        """Return which process works on it, as far as can be seen from here, in words; empty: none."""
        try:
            owner = read_json(self.folder / 'lock')
            host, pid = str(owner['host']), int(owner['pid'])
            if host != socket.gethostname():
                return f'process {pid} on host {host} works on it, or died there'
            if process_start_time(pid) == owner['birth']:
                return f'process {pid} on this host works on it'
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            pass
        return ''

    def status(self) -> str:
        """Return whether it runs, and where, or why it ended, as a sentence."""
        over = f'stopped: {self.stopped}' if self.stopped else 'interrupted: Tuner.resume, or hpo4dl resume, goes on'
        return self.worked_on_by() or over


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run's folder, whether the run goes on or not. Nothing is written.

    Args:
        folder: the run's; 'last': the newest one below the current folder.

    Raises:
        JournalError: there is no journal, or one of another schema.
    """
    path = find_run(folder).absolute()
    try:
        content = read_regular(path / NAME)
    except OSError as error:
        raise JournalError(f'{escape(path)}: its journal cannot be read ({escape(error)})') from error
    notes: list[str] = []
    stored = _read_json(path / 'settings.json', dict, notes)
    found = (stored.get(key) for key in ('settings', 'environment'))
    settings, environment = (value if isinstance(value, dict) else {} for value in found)
    for key, is_usable in (('max_epochs', is_whole), ('max_budget', is_finite)):
        if settings.get(key) is not None and not is_usable(settings[key]):
            notes.append(f'settings.json: {key} cannot be used: {escape(brief(settings.pop(key)))}')
    minimize = bool(settings.get('minimize', False))
    about: dict[str, Any] = {'folder': path, 'settings': settings, 'environment': environment, 'notes': notes}
    run = Run(minimize, **about)
    left_out = _fold(run, _events(path, content))
    if left_out:
        events = list(_events(path, content))
        whole = [(number, event) for number, event in events if event is not None]
        kept, dropped = made_consistent(whole, keep_unknown=True)
        run = Run(minimize, **about)
        left_out = sorted({number for number, event in events if event is None} | {*dropped, *_fold(run, kept)})
    if left_out:
        listed = ', '.join(map(str, left_out[:10])) + (', ...' if len(left_out) > 10 else '')
        notes.append(f'{NAME}: {len(left_out)} damaged lines are left out (line {listed})')
    run.hyperparameters = _hyperparameters(_read_json(path / 'hyperparameters.json', list, notes), run.trials.values())
    return run


def _events(folder: Path, content: bytes) -> Iterator[tuple[int, Event | None]]:
    """Yield the events of a journal's whole lines, by line; None: it is damaged."""
    for number, line in enumerate(content[: content.rfind(b'\n') + 1].split(b'\n')[:-1], 1):
        event = decode_line(line)
        if number == 1 and event is not None and event.get('schema') not in READABLE:
            found = f'written with schema {escape(event.get("schema"))}'
            raise JournalError(f'{folder / NAME}: {found}, this hpo4dl reads schema 1 and {SCHEMA}')
        if event is not None:
            event.pop('point', None)  # an array, for which NumPy would be imported
        yield number, event


def _fold(run: Run, events: Iterable[tuple[int, Event | None]]) -> list[int]:
    """Apply events, and return the lines of those that are damaged, or do not fit what stands before them."""
    unfit = []
    for number, event in events:
        try:
            finished = None if event is None else run.apply(event).finished
            run.observations += finished.observations if finished is not None else []
        except (KeyError, TypeError, ValueError, AttributeError):
            event = None
        if event is None:
            unfit.append(number)
    return unfit


def _hyperparameters(described: list[Any], trials: Iterable[TrialRecord]) -> list[Hyperparameter]:
    """Return the hyperparameters that the file describes, and those that only the trials have."""
    raced: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.configuration.items():
            raced.setdefault(name, []).append(value)
    by_name = {e['name']: e for e in described if isinstance(e, dict) and isinstance(e.get('name'), str)}
    found = []
    for name in dict.fromkeys([*by_name, *raced]):
        entry, values = by_name.get(name, {}), raced.get(name, [])
        listed = entry.get('sequence') or entry.get('choices') or ([entry['value']] if 'value' in entry else [])
        listed = listed if isinstance(listed, list) else []
        if listed or not all(map(is_number, values)):
            every = tuple({json.dumps(value): value for value in [*listed, *values]}.values())
            found.append(Hyperparameter(name, 'rank' if 'sequence' in entry else 'category', values=every))
        else:
            lower, upper = (entry.get(key) for key in ('lower', 'upper'))
            lower, upper = (bound if is_finite(bound) else None for bound in (lower, upper))
            integer = all(isinstance(value, int) for value in values)
            found.append(Hyperparameter(name, 'number', lower, upper, bool(entry.get('log')), integer))
    return found


def _read_json(path: Path, kind: type, notes: list[str]) -> Any:
    """Return the file's content; if it cannot be read, an empty `kind`, and a note."""
    try:
        content = read_json(path)
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
        'state': run.status(),
        'minimize': run.minimize,
        'metric_name': run.metric_name,
        'max_epochs': run.max_epochs,
        'settings': run.settings,
        'environment': run.environment,
        'hyperparameters': [vars(h) for h in run.hyperparameters],
        'epochs_spent': run.epochs_spent,
        'budget_spent': run.budget_spent,
        'epochs_saved': run.epochs_saved(),
        'seconds': run.elapsed,
        'incumbent': best
        and {
            'configuration_id': best.trial,
            'epoch': best.epoch,
            'metric': best.metric,
            'expected': run.expected_metric,
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
                'kind': trial.failed and kind_of(trial.failed),
                'running': trial.id in run.running,
            }
            for trial in run.trials.values()
        ],
        'notes': run.notes,
    }


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a plain value is a number and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
