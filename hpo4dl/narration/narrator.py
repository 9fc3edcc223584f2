"""Tells people how a race goes, from its first line to its last, wherever it runs.

What is said goes to stderr, or through `logging` where somebody listens there, or where `quiet` is asked for. Warnings
go through `logging` in any case, which shows them on stderr unless it was set up otherwise. No handler is added.
"""

from __future__ import annotations

import logging
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from ..analysis.failures import FailureLog
from ..analysis.report import report_text
from ..analysis.run import read_run
from ..log import Log
from ..progress import Event
from ..records.state import RunState
from .advice import Advisor
from .display import Bar, Line, Pace, event_line, is_watched, progress_display

GONE = (OSError, ValueError, AttributeError)
"""What is raised by a terminal that was closed, a stream that was, and one that is None."""

logger = Log(__name__)


class Narrator:
    """Tells people of a race: `progress` and `quiet` as in `Tuner`."""

    def __init__(self, progress: bool | None, quiet: bool) -> None:
        self._quiet = quiet
        shows = not quiet and is_watched(sys.stderr) if progress is None else progress
        self._display: Bar | Line | None = progress_display() if shows else None
        self._begun = False
        self._pace = Pace()
        self._advisor = Advisor()
        self._failures = FailureLog()

    def begin(self, run_folder: Path, state: RunState, metric_name: str) -> None:
        """A run begins, or goes on: say where."""
        self._begun, self._pace = False, Pace()
        if state.attempts:
            self.say(f'hpo4dl: going on after {state.epochs_spent} epochs with the run in {run_folder}')
        else:
            self.say(f'hpo4dl: the run is in {run_folder}')
            for advice in self._advisor.named([metric_name], state.minimize):
                self.warn(advice)

    def result(self, event: Event, state: RunState) -> None:
        """A step is over: show how the race stands, and warn of what should be looked at."""
        if self._display is not None:
            self._begun = True
            with suppress(*GONE):
                self._display(event)
        elif self._quiet or is_heard():
            logger.info('%s', event_line(event, 1000))
        elif self._pace.is_due(event.seconds):
            self.say(event_line(event, 79))
        if event.failed is not None:
            for warning in self._failures.about(event.trial, event.failed, state.trials[event.trial.id].traceback):
                self.warn(warning)
        for advice in self._advisor.look(event.trial, event.failed, state):
            self.warn(advice)

    def close(self) -> None:
        """Leave the last state on the terminal."""
        if self._display is not None and self._begun:
            with suppress(*GONE):
                self._display.close()

    def end(self, run_folder: Path, how_to_go_on: str) -> None:
        """The run is over: tell what came of it, in a short table, and in a last line how to go on."""
        try:
            text = report_text(read_run(run_folder), width=shutil.get_terminal_size().columns)
            self.say(f'{text}\n{how_to_go_on}')
        except Exception:
            logger.exception('%s cannot be summed up', run_folder)
            self.say(how_to_go_on)

    def say(self, text: str) -> None:
        """Tell what a user expects to read."""
        if self._quiet or is_heard():
            logger.info('%s', text)
        else:
            self._clear()
            with suppress(*GONE):
                sys.stderr.write(f'{text}\n')
                sys.stderr.flush()

    def warn(self, text: str) -> None:
        """Tell what should be looked at."""
        self._clear()
        logger.warning('%s', text)

    def _clear(self) -> None:
        if self._display is not None and self._begun:
            with suppress(*GONE):
                self._display.clear()


def is_heard() -> bool:
    """Return whether the user has set up `logging` so that it shows what hpo4dl says at level INFO."""
    return logger.isEnabledFor(logging.INFO) and logger.hasHandlers()
