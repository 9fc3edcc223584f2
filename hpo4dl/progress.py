"""Callbacks that show how a race goes: tqdm's bar, a line on a terminal that is written over, or log lines."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .text import format_seconds
from .trial import Trial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What a callback is told after every result."""

    trial: Trial
    """The step that was trained."""
    metrics: dict[int, float]
    """Its usable metrics by epoch."""
    failed: str | None
    """Why the trial is not trained further, if it failed."""
    incumbent: dict[str, Any] | None
    """The best so far, as `Tuner.run` returns it; None as long as there is none."""
    epochs_spent: int
    """Epochs trained so far, over all trials."""
    max_budget: float | None
    """What may be spent in all, in `unit`; None: without a limit, as after the race."""
    seconds: float
    """Wall clock since `run` began."""
    running: int = 0
    """Calls of the objective function that are running now."""
    unit: str = 'epochs'
    """What `max_budget` counts: 'epochs', 'seconds' or 'reported'."""
    budget_spent: float = 0
    """What is spent of `max_budget`; epochs trained after the race do not count."""

    @property
    def counts_epochs(self) -> bool:
        return self.unit == 'epochs' or self.max_budget is None

    @property
    def spent(self) -> float:
        """Epochs spent, or what else the budget counts."""
        return self.epochs_spent if self.counts_epochs else self.budget_spent


Callback = Callable[[Event], object]


def log_line(event: Event) -> None:
    """One log line a result, at level INFO."""
    logger.info('%s', event_line(event))


class Line:
    """A line on the terminal, written over at every result."""

    def __call__(self, event: Event) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write('\r' + event_line(event)[:width].ljust(width))
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the last line on the terminal."""
        sys.stderr.write('\n')
        sys.stderr.flush()


class Bar:
    """A bar of tqdm's, in a notebook a widget: epochs spent of the budget, time left, the incumbent, what runs.

    Args:
        tqdm: the class, such as `tqdm.auto.tqdm`.
    """

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None

    def __call__(self, event: Event) -> None:
        if self._bar is None:  # what an earlier run of the tuner spent says nothing about how fast this one is
            before = event.spent - (event.trial.epoch - event.trial.previous_epoch if event.counts_epochs else 0)
            unit = 'epoch' if event.counts_epochs else {'seconds': 's', 'reported': 'cost'}[event.unit]
            self._bar = self._tqdm(total=event.max_budget, initial=before, unit=unit, dynamic_ncols=True)
        self._bar.set_postfix_str(' | '.join(status_parts(event)), refresh=False)
        self._bar.update(event.spent - self._bar.n)

    def close(self) -> None:
        """Leave the last state of the bar on the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def is_watched(stream: Any) -> bool:
    """Whether people look on while the stream is written: it is a terminal, or a cell of a notebook."""
    return bool(stream.isatty()) or type(stream).__module__.startswith('ipykernel')


def progress_display() -> Bar | Line:
    """What shows the progress here."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return Line()
    return Bar(tqdm)


def event_line(event: Event) -> str:
    """The event in one line: epochs spent, time left, the incumbent, the newest result."""
    spent = f'{event.spent:.10g}/{event.max_budget:.10g}' if event.max_budget else f'{event.epochs_spent}'
    parts = [f'{spent} {"epochs" if event.counts_epochs else {"seconds": "s", "reported": "cost"}[event.unit]}']
    if event.max_budget and event.spent > 0:
        left = event.seconds / event.spent * max(event.max_budget - event.spent, 0)
        parts.append(f'{format_seconds(left)} left')
    return ' | '.join([*parts, *status_parts(event)])


def status_parts(event: Event) -> list[str]:
    """The incumbent, the newest result, and how many calls are running."""
    parts = []
    if event.incumbent:
        best = event.incumbent
        parts.append(f'best {best["metric"]:.5g} (trial {best["configuration_id"]}, epoch {best["epoch"]})')
    newest = event.failed or ', '.join(f'{metric:.5g}' for metric in list(event.metrics.values())[-1:])
    parts.append(f'trial {event.trial.id} epoch {event.trial.epoch}: {newest}')
    if event.running:
        parts.append(f'{event.running} running')
    return parts
