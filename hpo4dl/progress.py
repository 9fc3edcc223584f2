"""Callbacks that show how a race goes: a line on a terminal that is written over, or a log line a result."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    max_budget: int | None
    """Epochs to be trained in all."""
    seconds: float
    """Wall clock since `run` began."""


Callback = Callable[[Event], object]


def log_line(event: Event) -> None:
    """One log line a result, at level INFO."""
    logger.info('%s', describe(event))


def terminal_line(event: Event) -> None:
    """One line on the terminal, written over the previous one."""
    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write('\r' + describe(event)[:width].ljust(width))
    sys.stderr.flush()


def end_terminal_line() -> None:
    """Leave the last line on the terminal."""
    sys.stderr.write('\n')
    sys.stderr.flush()


def describe(event: Event) -> str:
    """The event in one line: epochs spent, time left, the incumbent, the newest result."""
    spent = f'{event.epochs_spent}/{event.max_budget}' if event.max_budget else f'{event.epochs_spent}'
    parts = [f'{spent} epochs']
    if event.max_budget:
        left = event.seconds / event.epochs_spent * (event.max_budget - event.epochs_spent)
        parts.append(f'{clock(left)} left')
    if event.incumbent:
        best = event.incumbent
        parts.append(f'best {best["metric"]:.5g} (trial {best["configuration_id"]}, epoch {best["epoch"]})')
    newest = event.failed or ', '.join(f'{metric:.5g}' for metric in list(event.metrics.values())[-1:])
    parts.append(f'trial {event.trial.id} epoch {event.trial.epoch}: {newest}')
    return ' | '.join(parts)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f'{hours}:{m:02d}:{s:02d}' if hours else f'{m}:{s:02d}'
